/* A pickle reader that executes nothing: see pickle.h. The opcodes are those of Python's
 * pickletools; memory is bounded by the limits below whatever the input says. */
#include "formats/pickle.h"

#include <stdio.h>
#include <string.h>

#include "core/buffer.h"
#include "formats/pickle_text.h"
#include "formats/tensor_names.h"

enum {
    NODES_MAX = 4 << 20, /* values; a checkpoint needs about a dozen for a tensor */
    ITEMS_MAX = 16 << 20,
    STACK_MAX = 1 << 20,
    MEMO_MAX = 4 << 20,
    MARKS_MAX = 1 << 12, /* nested containers under construction */
    NODES_PER_BLOCK = 512
};

typedef struct {
    PareCursor in;
    const uint8_t *begin;
    const char *where;
    const ParePickleAllowList *allowed;
    PareArena *arena;
    PareError *err;
    ParePickle **stack, **memo;
    size_t depth, stack_capacity, memo_capacity, memo_next;
    uint32_t marks[MARKS_MAX];
    size_t mark_count;
    ParePickle *block; /* unused nodes */
    size_t block_left, nodes, items;
    size_t copies_left; /* items of dicts built from others: each was written once, with a byte */
    ParePickleList *persistent; /* NULL: nobody asked */
    bool stopped;
} Machine;

/* Handlers return false after filling the error. */
typedef bool (*Handler)(Machine *m, unsigned argument);

static bool fail(Machine *m, const char *what) {
    pare_error_set(m->err, PARE_E_FORMAT, "%s: not a valid pickle: %s at byte %zu", m->where, what,
                   (size_t)(m->in.at - m->begin));
    return false;
}

static bool out_of_memory(Machine *m) {
    pare_memory_error(m->err, m->where);
    return false;
}

/* ---- Values and the stack ---- */

static ParePickle *new_node(Machine *m, ParePickleKind kind) {
    if (m->nodes == NODES_MAX) {
        fail(m, "too many values");
        return NULL;
    }
    if (m->block_left == 0) {
        m->block = pare_arena_alloc(m->arena, NODES_PER_BLOCK, sizeof *m->block);
        if (m->block == NULL) {
            out_of_memory(m);
            return NULL;
        }
        m->block_left = NODES_PER_BLOCK;
    }
    m->nodes++;
    m->block_left--;
    ParePickle *v = m->block++;
    v->kind = (uint8_t)kind;
    return v;
}

static bool push(Machine *m, ParePickle *v) {
    if (v == NULL)
        return false;
    if (m->depth == m->stack_capacity) {
        size_t capacity = m->stack_capacity == 0 ? 256 : m->stack_capacity * 2;
        if (capacity > STACK_MAX)
            return fail(m, "the stack is too deep");
        ParePickle **stack = pare_realloc(m->stack, capacity, sizeof(ParePickle *));
        if (stack == NULL)
            return out_of_memory(m);
        m->stack = stack;
        m->stack_capacity = capacity;
    }
    m->stack[m->depth++] = v;
    return true;
}

/* How many values lie above the last mark: what a handler may pop. */
static size_t available(const Machine *m) {
    return m->depth - (m->mark_count == 0 ? 0 : m->marks[m->mark_count - 1]);
}

static ParePickle *pop(Machine *m) {
    if (available(m) == 0) {
        fail(m, "the stack is empty");
        return NULL;
    }
    return m->stack[--m->depth];
}

static ParePickle *top(Machine *m) {
    if (available(m) == 0) {
        fail(m, "the stack is empty");
        return NULL;
    }
    return m->stack[m->depth - 1];
}

/* Appends the topmost `count` values of the stack to a container and pops them. */
static bool take_items(Machine *m, ParePickle *v, size_t count) {
    size_t needed = v->size + count;
    if (count > ITEMS_MAX - m->items)
        return fail(m, "too many items");
    if (needed > v->capacity) {
        size_t capacity = needed < (size_t)v->capacity * 2 ? (size_t)v->capacity * 2 : needed;
        const ParePickle **items = pare_arena_alloc(m->arena, capacity, sizeof(ParePickle *));
        if (items == NULL)
            return out_of_memory(m);
        if (v->size > 0)
            memcpy(items, v->items, v->size * sizeof *items);
        v->items = items;
        v->capacity = (uint32_t)capacity;
    }
    m->depth -= count;
    m->items += count;
    for (size_t i = 0; i < count; i++)
        v->items[v->size + i] = m->stack[m->depth + i];
    v->size = (uint32_t)needed;
    return true;
}

/* Pops the last mark; `*count` is what lay above it. */
static bool pop_mark(Machine *m, size_t *count) {
    if (m->mark_count == 0)
        return fail(m, "there is no mark");
    *count = available(m);
    m->mark_count--;
    return true;
}

/* ---- Handlers: constants ---- */

static bool do_protocol(Machine *m, unsigned argument) {
    (void)argument;
    unsigned version = pare_cursor_u8(&m->in);
    if (m->in.bad || version < 2 || version > 5)
        return fail(m, "the protocol is not 2 to 5");
    return true;
}

static bool do_frame(Machine *m, unsigned argument) {
    (void)argument;
    if (pare_cursor_u64(&m->in) > pare_cursor_left(&m->in))
        return fail(m, "a frame is longer than the file");
    return true;
}

static bool do_constant(Machine *m, unsigned kind) {
    return push(m, new_node(m, kind));
}

static bool do_bool(Machine *m, unsigned value) {
    ParePickle *v = new_node(m, PARE_PICKLE_BOOL);
    if (v != NULL)
        v->integer = value;
    return push(m, v);
}

/* Unsigned of 1 or 2 bytes, or signed of 4. */
static bool do_int(Machine *m, unsigned bytes) {
    ParePickle *v = new_node(m, PARE_PICKLE_INT);
    if (v == NULL)
        return false;
    if (bytes == 1)
        v->integer = pare_cursor_u8(&m->in);
    else if (bytes == 2)
        v->integer = pare_cursor_u16(&m->in);
    else
        v->integer = (int32_t)pare_cursor_u32(&m->in);
    return push(m, v);
}

/* Bytes or characters that the input holds anyway. */
static bool push_borrowed(Machine *m, ParePickleKind kind, const void *text, size_t size) {
    ParePickle *v = new_node(m, kind);
    if (v != NULL) {
        v->text = text;
        v->size = (uint32_t)size;
    }
    return push(m, v);
}

static bool push_int(Machine *m, int64_t value) {
    ParePickle *v = new_node(m, PARE_PICKLE_INT);
    if (v != NULL)
        v->integer = value;
    return push(m, v);
}

/* Two's complement, as many bytes as it takes. */
static bool do_long(Machine *m, unsigned length_bytes) {
    size_t length = length_bytes == 1 ? pare_cursor_u8(&m->in) : pare_cursor_u32(&m->in);
    const uint8_t *bytes = length == 0 ? NULL : pare_cursor_take(&m->in, length);
    int64_t integer;
    if (bytes == NULL && length > 0)
        return fail(m, "an integer is cut off");
    if (length > 8)
        return push_borrowed(m, PARE_PICKLE_BIG_INT, bytes, length);
    uint64_t value = length > 0 && (bytes[length - 1] & 0x80) != 0 ? UINT64_MAX : 0;
    for (size_t i = length; i-- > 0;)
        value = value << 8 | bytes[i];
    memcpy(&integer, &value, sizeof integer);
    return push_int(m, integer);
}

static bool do_float(Machine *m, unsigned argument) {
    (void)argument;
    ParePickle *v = new_node(m, PARE_PICKLE_FLOAT);
    if (v == NULL)
        return false;
    uint64_t bits = __builtin_bswap64(pare_cursor_u64(&m->in)); /* the one big-endian opcode */
    memcpy(&v->number, &bits, sizeof bits);
    return push(m, v);
}

/* A length of 1, 4 or 8 bytes, then the content. */
static bool push_content(Machine *m, unsigned length_bytes, ParePickleKind kind) {
    uint64_t length = length_bytes == 1   ? pare_cursor_u8(&m->in)
                      : length_bytes == 4 ? pare_cursor_u32(&m->in)
                                          : pare_cursor_u64(&m->in);
    if (m->in.bad || length > pare_cursor_left(&m->in) || length > UINT32_MAX)
        return fail(m, "a text is cut off");
    const uint8_t *content = m->in.at;
    if (length > 0)
        pare_cursor_take(&m->in, (size_t)length);
    return push_borrowed(m, kind, content, (size_t)length);
}

static bool do_text(Machine *m, unsigned length_bytes) {
    return push_content(m, length_bytes, PARE_PICKLE_TEXT);
}

static bool do_bytes(Machine *m, unsigned length_bytes) {
    return push_content(m, length_bytes, PARE_PICKLE_BYTES);
}

/* ---- Handlers: constants as text (protocols 0 and 1) ---- */

/* A line of text up to its '\n', which is not counted. */
static const char *take_line(Machine *m, size_t *size) {
    size_t left = pare_cursor_left(&m->in);
    const uint8_t *begin = m->in.at, *end = left == 0 ? NULL : memchr(begin, '\n', left);
    if (end == NULL || end - begin > INT32_MAX) {
        fail(m, "a line does not end");
        return NULL;
    }
    *size = (size_t)(end - begin);
    pare_cursor_take(&m->in, *size + 1);
    return (const char *)begin;
}

/* INT and LONG; the former also writes truth values, as 00 and 01. */
static bool do_text_int(Machine *m, unsigned is_long) {
    size_t size = 0;
    int64_t value;
    const char *line = take_line(m, &size);
    if (line == NULL)
        return false;
    if (!is_long && size == 2 && line[0] == '0' && (line[1] == '0' || line[1] == '1'))
        return do_bool(m, line[1] == '1');
    if (is_long && size > 0 && line[size - 1] == 'L')
        size--;
    switch (pare_pickle_parse_int(line, size, &value)) {
    case PARE_PICKLE_NUMBER:
        return push_int(m, value);
    case PARE_PICKLE_NUMBER_BIG:
        return push_borrowed(m, PARE_PICKLE_BIG_INT, line, size);
    default:
        return fail(m, "a number is not written as one");
    }
}

static bool do_text_float(Machine *m, unsigned argument) {
    size_t size;
    double value;
    (void)argument;
    const char *line = take_line(m, &size);
    if (line == NULL)
        return false;
    if (!pare_pickle_parse_float(line, size, &value))
        return fail(m, "a number is not written as one");
    ParePickle *v = new_node(m, PARE_PICKLE_FLOAT);
    if (v != NULL)
        v->number = value;
    return push(m, v);
}

/* STRING, in quotes and with Python's escapes, and UNICODE, with \u escapes only. */
static bool do_text_string(Machine *m, unsigned quoted) {
    size_t size;
    const char *line = take_line(m, &size);
    if (line == NULL)
        return false;
    char *text = pare_arena_alloc(m->arena, size + 1, 2); /* Latin-1 may double in UTF-8 */
    if (text == NULL)
        return out_of_memory(m);
    if (!pare_pickle_unescape(line, size, quoted != 0, text, &size))
        return fail(m, "a text is not written as one");
    return push_borrowed(m, PARE_PICKLE_TEXT, text, size);
}

/* ---- Handlers: the stack and the memo ---- */

static bool do_mark(Machine *m, unsigned argument) {
    (void)argument;
    if (m->mark_count == MARKS_MAX)
        return fail(m, "containers are nested too deeply");
    m->marks[m->mark_count++] = (uint32_t)m->depth;
    return true;
}

static bool do_pop(Machine *m, unsigned argument) {
    (void)argument;
    return pop(m) != NULL;
}

static bool do_pop_mark(Machine *m, unsigned argument) {
    size_t count;
    (void)argument;
    if (!pop_mark(m, &count))
        return false;
    m->depth -= count;
    return true;
}

static bool do_dup(Machine *m, unsigned argument) {
    (void)argument;
    return push(m, top(m));
}

static bool store(Machine *m, size_t index) {
    ParePickle *v = top(m);
    if (v == NULL)
        return false;
    if (index >= MEMO_MAX)
        return fail(m, "a memo index is too large");
    if (index >= m->memo_capacity) {
        size_t capacity = m->memo_capacity == 0 ? 256 : m->memo_capacity * 2;
        while (capacity <= index)
            capacity *= 2;
        ParePickle **memo = pare_realloc(m->memo, capacity, sizeof(ParePickle *));
        if (memo == NULL)
            return out_of_memory(m);
        for (size_t i = m->memo_capacity; i < capacity; i++)
            memo[i] = NULL;
        m->memo = memo;
        m->memo_capacity = capacity;
    }
    if (m->memo[index] == NULL)
        m->memo_next++;
    m->memo[index] = v;
    return true;
}

static bool do_put(Machine *m, unsigned bytes) {
    return store(m, bytes == 1 ? pare_cursor_u8(&m->in) : pare_cursor_u32(&m->in));
}

/* PUT and GET: the index as text. */
static bool take_index(Machine *m, size_t *index) {
    size_t size;
    int64_t value;
    const char *line = take_line(m, &size);
    if (line == NULL)
        return false;
    if (pare_pickle_parse_int(line, size, &value) != PARE_PICKLE_NUMBER || value < 0)
        return fail(m, "a memo index is not a number");
    *index = (size_t)value;
    return true;
}

static bool do_text_put(Machine *m, unsigned argument) {
    size_t index;
    (void)argument;
    return take_index(m, &index) && store(m, index);
}

static bool do_memoize(Machine *m, unsigned argument) {
    (void)argument;
    return store(m, m->memo_next);
}

static bool fetch(Machine *m, size_t index) {
    if (index >= m->memo_capacity || m->memo[index] == NULL)
        return fail(m, "a memo entry is missing");
    return push(m, m->memo[index]);
}

static bool do_get(Machine *m, unsigned bytes) {
    return fetch(m, bytes == 1 ? pare_cursor_u8(&m->in) : pare_cursor_u32(&m->in));
}

static bool do_text_get(Machine *m, unsigned argument) {
    size_t index;
    (void)argument;
    return take_index(m, &index) && fetch(m, index);
}

/* ---- Handlers: containers ---- */

static bool do_container(Machine *m, unsigned kind) {
    size_t count;
    if (!pop_mark(m, &count))
        return false;
    if (kind == PARE_PICKLE_DICT && count % 2 != 0)
        return fail(m, "a dict has a key without a value");
    ParePickle *v = new_node(m, kind);
    return v != NULL && take_items(m, v, count) && push(m, v);
}

static bool do_small_tuple(Machine *m, unsigned count) {
    if (available(m) < count)
        return fail(m, "the stack is empty");
    ParePickle *v = new_node(m, PARE_PICKLE_TUPLE);
    return v != NULL && take_items(m, v, count) && push(m, v);
}

/* Adds what lies above the container on top of the stack to it. */
static bool add_items(Machine *m, ParePickleKind kind, size_t count) {
    if (available(m) <= count)
        return fail(m, "the stack is empty");
    ParePickle *v = m->stack[m->depth - count - 1];
    if (v->kind == PARE_PICKLE_CALL) { /* an object of a class that is kept inert */
        m->depth -= count;
        return true;
    }
    if (v->kind != kind)
        return fail(m, "items are added to something else");
    if (kind == PARE_PICKLE_DICT && count % 2 != 0)
        return fail(m, "a dict has a key without a value");
    return take_items(m, v, count);
}

static bool do_append(Machine *m, unsigned argument) {
    (void)argument;
    return add_items(m, PARE_PICKLE_LIST, 1);
}

static bool do_set_item(Machine *m, unsigned argument) {
    (void)argument;
    return add_items(m, PARE_PICKLE_DICT, 2);
}

/* APPENDS, SETITEMS, ADDITEMS. */
static bool do_add_marked(Machine *m, unsigned kind) {
    size_t count;
    return pop_mark(m, &count) && add_items(m, kind, count);
}

/* ---- Handlers: globals and calls ---- */

static bool is_below(const char *package, const char *module, size_t size) {
    size_t length = strlen(package);
    return size >= length && memcmp(module, package, length) == 0 &&
           (size == length || module[length] == '.');
}

static const ParePickleGlobal *find_global(const ParePickleAllowList *allowed, const char *module,
                                           size_t module_size, const char *name, size_t name_size) {
    for (size_t i = 0; i < allowed->count && name_size > 0; i++) {
        const ParePickleGlobal *g = &allowed->globals[i];
        if (g->name[0] == name[0] && strlen(g->name) == name_size &&
            memcmp(g->name, name, name_size) == 0 && strlen(g->module) == module_size &&
            memcmp(g->module, module, module_size) == 0)
            return g;
    }
    if (allowed->package != NULL && is_below(allowed->package->module, module, module_size))
        return allowed->package;
    return NULL;
}

static bool push_global(Machine *m, const char *module, size_t module_size, const char *name,
                        size_t name_size) {
    const ParePickleGlobal *found = find_global(m->allowed, module, module_size, name, name_size);
    if (found != NULL) {
        ParePickle *v = new_node(m, PARE_PICKLE_GLOBAL);
        if (v != NULL)
            v->global = found;
        return push(m, v);
    }
    char shown_module[128], shown_name[128];
    pare_error_set(m->err, PARE_E_FORMAT,
                   "%s calls %s.%s, which is not on the allow-list; nothing was executed", m->where,
                   pare_name_show(module, module_size, shown_module, sizeof shown_module),
                   pare_name_show(name, name_size, shown_name, sizeof shown_name));
    return false;
}

static bool do_global(Machine *m, unsigned argument) {
    size_t module_size, name_size;
    (void)argument;
    const char *module = take_line(m, &module_size);
    const char *name = module == NULL ? NULL : take_line(m, &name_size);
    return name != NULL && push_global(m, module, module_size, name, name_size);
}

static bool do_stack_global(Machine *m, unsigned argument) {
    (void)argument;
    ParePickle *name = pop(m), *module = name == NULL ? NULL : pop(m);
    if (module == NULL)
        return false;
    if (name->kind != PARE_PICKLE_TEXT || module->kind != PARE_PICKLE_TEXT)
        return fail(m, "a global is not named by texts");
    return push_global(m, module->text, module->size, name->text, name->size);
}

/* Values that lie in a container already; the stack changes none of those. */
static bool push_again(Machine *m, const ParePickle *v) {
    return push(m, (ParePickle *)(uintptr_t)v);
}

/* What a dict is built from: pairs, as Python 2 pickles its OrderedDict, or another dict. Other
 * arguments (the factory of a defaultdict) leave it empty. */
static bool fill_dict(Machine *m, ParePickle *dict, const ParePickle *from) {
    size_t count = 0;
    if (from->kind == PARE_PICKLE_DICT) {
        for (; count < from->size; count++)
            if (!push_again(m, from->items[count]))
                return false;
    } else if (from->kind == PARE_PICKLE_LIST || from->kind == PARE_PICKLE_TUPLE) {
        for (uint32_t i = 0; i < from->size; i++, count += 2) {
            const ParePickle *pair = from->items[i];
            if ((pair->kind != PARE_PICKLE_LIST && pair->kind != PARE_PICKLE_TUPLE) ||
                pair->size != 2)
                return fail(m, "a dict is built from something that is no pair");
            if (!push_again(m, pair->items[0]) || !push_again(m, pair->items[1]))
                return false;
        }
    } else if (from->kind != PARE_PICKLE_GLOBAL && from->kind != PARE_PICKLE_NONE) {
        return fail(m, "a dict is built from something else");
    }
    if (count > m->copies_left)
        return fail(m, "too many items are copied");
    m->copies_left -= count;
    return take_items(m, dict, count);
}

/* A global and its arguments: a node, not a call. */
static ParePickle *new_call(Machine *m, const ParePickle *callable, const ParePickle *arguments) {
    if (callable->kind != PARE_PICKLE_GLOBAL || arguments->kind != PARE_PICKLE_TUPLE) {
        fail(m, "something is called that is no function");
        return NULL;
    }
    if (callable->global->makes_dict) {
        ParePickle *dict = new_node(m, PARE_PICKLE_DICT);
        if (dict == NULL || arguments->size == 0)
            return dict;
        return fill_dict(m, dict, arguments->items[0]) ? dict : NULL;
    }
    ParePickle *v = new_node(m, PARE_PICKLE_CALL);
    if (v == NULL || !push_again(m, callable) || !push_again(m, arguments) || !take_items(m, v, 2))
        return NULL;
    return v;
}

/* REDUCE and NEWOBJ; NEWOBJ_EX, whose third operand is a dict of named arguments. */
static bool do_call(Machine *m, unsigned operands) {
    if (available(m) < operands)
        return fail(m, "the stack is empty");
    const ParePickle *const *operand = (const ParePickle *const *)m->stack + m->depth - operands;
    if (operands == 3 && operand[2]->kind != PARE_PICKLE_DICT)
        return fail(m, "something is called that is no function");
    ParePickle *v = new_call(m, operand[0], operand[1]);
    if (v == NULL)
        return false;
    m->depth -= operands;
    return push(m, v);
}

/* OBJ and INST: objects of Python 2's old classes, their arguments above a mark. */
static bool do_old_object(Machine *m, unsigned is_named) {
    size_t count;
    if (is_named && !do_global(m, 0)) /* on top, where OBJ has it below the arguments */
        return false;
    if (!pop_mark(m, &count))
        return false;
    if (count == 0)
        return fail(m, "the stack is empty");
    const ParePickle *callable = m->stack[m->depth - (is_named ? 1 : count)];
    if (is_named)
        m->depth--;
    ParePickle *arguments = new_node(m, PARE_PICKLE_TUPLE);
    if (arguments == NULL || !take_items(m, arguments, count - 1))
        return false;
    if (!is_named)
        m->depth--;
    return push(m, new_call(m, callable, arguments));
}

/* Attributes of a dict (a state dict's `_metadata`) say nothing about tensors: dropped. An object
 * keeps them as they are. */
static bool do_build(Machine *m, unsigned argument) {
    (void)argument;
    if (available(m) < 2)
        return fail(m, "the stack is empty");
    ParePickle *object = m->stack[m->depth - 2];
    if (object->kind == PARE_PICKLE_CALL)
        return object->size == 2 ? take_items(m, object, 1)
                                 : fail(m, "an object is given attributes twice");
    if (object->kind != PARE_PICKLE_DICT)
        return fail(m, "what is no object is given attributes");
    m->depth--;
    return true;
}

static bool track(Machine *m, const ParePickle *v) {
    ParePickleList *list = m->persistent;
    if (list == NULL)
        return true;
    if (list->count == list->capacity) {
        size_t capacity = list->capacity == 0 ? 64 : list->capacity * 2;
        const ParePickle **items = pare_realloc(list->items, capacity, sizeof *items);
        if (items == NULL)
            return out_of_memory(m);
        list->items = items;
        list->capacity = capacity;
    }
    list->items[list->count++] = v;
    return true;
}

static bool do_persistent(Machine *m, unsigned argument) {
    (void)argument;
    if (available(m) == 0)
        return fail(m, "the stack is empty");
    ParePickle *v = new_node(m, PARE_PICKLE_PERSISTENT);
    return v != NULL && take_items(m, v, 1) && track(m, v) && push(m, v);
}

static bool do_text_persistent(Machine *m, unsigned argument) {
    size_t size;
    const char *line = take_line(m, &size);
    return line != NULL && push_borrowed(m, PARE_PICKLE_TEXT, line, size) &&
           do_persistent(m, argument);
}

static bool do_stop(Machine *m, unsigned argument) {
    (void)argument;
    m->stopped = true;
    return top(m) != NULL;
}

/* ---- The machine ---- */

static const struct {
    Handler run;
    unsigned argument;
} handlers[256] = {
    [0x80] = {do_protocol, 0},
    [0x95] = {do_frame, 0},
    ['.'] = {do_stop, 0},
    ['('] = {do_mark, 0},
    ['0'] = {do_pop, 0},
    ['1'] = {do_pop_mark, 0},
    ['2'] = {do_dup, 0},
    ['N'] = {do_constant, PARE_PICKLE_NONE},
    [0x88] = {do_bool, 1},
    [0x89] = {do_bool, 0},
    ['J'] = {do_int, 4},
    ['K'] = {do_int, 1},
    ['M'] = {do_int, 2},
    [0x8A] = {do_long, 1},
    [0x8B] = {do_long, 4},
    ['G'] = {do_float, 0},
    ['X'] = {do_text, 4},
    [0x8C] = {do_text, 1},
    [0x8D] = {do_text, 8},
    ['T'] = {do_text, 4}, /* Python 2's str: module and parameter names */
    ['U'] = {do_text, 1},
    ['C'] = {do_bytes, 1},
    ['B'] = {do_bytes, 4},
    [0x8E] = {do_bytes, 8},
    [0x96] = {do_bytes, 8},
    [')'] = {do_constant, PARE_PICKLE_TUPLE},
    [']'] = {do_constant, PARE_PICKLE_LIST},
    ['}'] = {do_constant, PARE_PICKLE_DICT},
    [0x8F] = {do_constant, PARE_PICKLE_SET},
    ['t'] = {do_container, PARE_PICKLE_TUPLE},
    ['l'] = {do_container, PARE_PICKLE_LIST},
    ['d'] = {do_container, PARE_PICKLE_DICT},
    [0x91] = {do_container, PARE_PICKLE_SET},
    [0x85] = {do_small_tuple, 1},
    [0x86] = {do_small_tuple, 2},
    [0x87] = {do_small_tuple, 3},
    ['a'] = {do_append, 0},
    ['s'] = {do_set_item, 0},
    ['e'] = {do_add_marked, PARE_PICKLE_LIST},
    ['u'] = {do_add_marked, PARE_PICKLE_DICT},
    [0x90] = {do_add_marked, PARE_PICKLE_SET},
    ['q'] = {do_put, 1},
    ['r'] = {do_put, 4},
    [0x94] = {do_memoize, 0},
    ['h'] = {do_get, 1},
    ['j'] = {do_get, 4},
    ['c'] = {do_global, 0},
    [0x93] = {do_stack_global, 0},
    ['R'] = {do_call, 2},
    [0x81] = {do_call, 2},
    [0x92] = {do_call, 3},
    ['o'] = {do_old_object, 0},
    ['i'] = {do_old_object, 1},
    ['b'] = {do_build, 0},
    ['Q'] = {do_persistent, 0},
    ['P'] = {do_text_persistent, 0},
    ['I'] = {do_text_int, 0},
    ['L'] = {do_text_int, 1},
    ['F'] = {do_text_float, 0},
    ['S'] = {do_text_string, 1},
    ['V'] = {do_text_string, 0},
    ['p'] = {do_text_put, 0},
    ['g'] = {do_text_get, 0},
};

static bool run(Machine *m) {
    while (!m->stopped) {
        unsigned opcode = pare_cursor_u8(&m->in);
        if (m->in.bad)
            return fail(m, "it is cut off");
        if (handlers[opcode].run == NULL) {
            char what[48];
            snprintf(what, sizeof what, "opcode 0x%02x is not supported", opcode);
            return fail(m, what);
        }
        if (!handlers[opcode].run(m, handlers[opcode].argument))
            return false;
        if (m->in.bad)
            return fail(m, "it is cut off");
    }
    return true;
}

PareStatus pare_pickle_load_tracked(const void *bytes, size_t size, const char *where,
                                    const ParePickleAllowList *allowed, PareArena *arena,
                                    const ParePickle **out, size_t *used,
                                    ParePickleList *persistent, PareError *err) {
    PareError own;
    Machine *m = pare_alloc(1, sizeof *m);
    if (m == NULL)
        return pare_memory_error(err, where);
    m->in = pare_cursor(bytes, size);
    m->begin = bytes;
    m->where = where;
    m->allowed = allowed;
    m->arena = arena;
    m->persistent = persistent;
    m->copies_left = size;
    m->err = err == NULL ? &own : err;
    PareStatus status = run(m) ? PARE_OK : m->err->code;
    if (status == PARE_OK) {
        *out = m->stack[m->depth - 1];
        if (used != NULL)
            *used = (size_t)(m->in.at - m->begin);
    }
    pare_free(m->stack);
    pare_free(m->memo);
    pare_free(m);
    return status;
}

PareStatus pare_pickle_load(const void *bytes, size_t size, const char *where,
                            const ParePickleAllowList *allowed, PareArena *arena,
                            const ParePickle **out, size_t *used, PareError *err) {
    return pare_pickle_load_tracked(bytes, size, where, allowed, arena, out, used, NULL, err);
}

const char *pare_pickle_kind_name(const ParePickle *v) {
    static const char *const names[] = {"None",           "a truth value", "an integer", "a float",
                                        "a long integer", "a text",        "bytes",      "a tuple",
                                        "a list",         "a set",         "a dict",     "a class",
                                        "a storage",      "an object"};
    return names[v->kind];
}

bool pare_pickle_text_is(const ParePickle *v, const char *text) {
    return v->kind == PARE_PICKLE_TEXT && v->size == strlen(text) &&
           memcmp(v->text, text, v->size) == 0;
}
