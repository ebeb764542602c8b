/*
 * The intent job: short commands from a template grammar, with the noise of real ones.
 */
#include "make-data.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the grammar of the intent job --------------------------------------------------------- */

/* In a template, {name} stands for any one of the choices of the rule of that name. */
struct rule {
    const char *name;
    const char *const *choices; /* ends with NULL */
};

#define CHOICES(...) ((const char *const[]){__VA_ARGS__, NULL})

static const struct rule RULES[] = {
    {"hour", CHOICES("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
                     "eleven", "twelve", "6", "7", "8", "9")},
    {"clock",
     CHOICES("{hour}", "{hour} o'clock", "{hour} thirty", "half past {hour}", "quarter to {hour}",
             "{hour} am", "{hour} pm", "noon", "7:15", "6:45", "8:30")},
    {"when", CHOICES("tomorrow", "today", "tonight", "on {weekday}", "this {weekday}",
                     "next {weekday}", "this evening", "tomorrow morning", "in the morning",
                     "this weekend", "the day after tomorrow")},
    {"weekday",
     CHOICES("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")},
    {"amount", CHOICES("two", "three", "five", "ten", "fifteen", "twenty", "thirty", "forty-five",
                       "ninety", "5", "10", "25")},
    {"span", CHOICES("{amount} minutes", "{amount} minutes", "{amount} seconds", "an hour",
                     "half an hour", "{amount} hours", "a minute", "an hour and a half")},
    {"food", CHOICES("the eggs", "the pasta", "the pizza", "the rice", "my tea", "the cake",
                     "the oven", "the bread", "the soup", "the chicken", "the laundry")},
    {"person", CHOICES("mom", "dad", "my sister", "my brother", "anna", "peter", "josé", "zoë",
                       "maria", "doctor lee", "my boss", "the office", "grandma", "uncle bob",
                       "sam", "the dentist", "my wife", "my husband", "andré", "the plumber",
                       "chris from work", "the team", "the neighbours")},
    {"place", CHOICES("the station", "the airport", "the office", "home", "work", "the museum",
                      "the nearest pharmacy", "a gas station", "the beach", "the café on {street}",
                      "the hospital", "{city}", "the library", "the stadium", "{street}",
                      "a parking lot", "the school", "the old town")},
    {"street", CHOICES("main street", "park avenue", "church road", "mill lane", "king street")},
    {"city", CHOICES("london", "paris", "berlin", "rome", "madrid", "boston", "chicago", "tokyo",
                     "zürich", "oslo", "lisbon", "new york", "dublin", "vienna")},
    {"chore",
     CHOICES("buy milk", "pay the rent", "call {person}", "take out the trash", "water the plants",
             "pick up the kids", "send the report", "feed the cat", "turn off the heating",
             "take my pills", "book a flight to {city}", "text {person} about the party",
             "renew my passport", "do the laundry", "check the weather", "buy a new lamp",
             "charge the phone", "practise the piano", "leave for {place}", "email {person}")},
    {"event", CHOICES("meeting", "appointment", "lunch with {person}", "dentist appointment",
                      "interview", "dinner", "party", "flight to {city}", "concert", "yoga class",
                      "call with {person}", "train to {city}", "birthday", "exam")},
    {"news", CHOICES("i am running late", "i will be home at {clock}", "dinner is ready",
                     "happy birthday", "the meeting is moved to {clock}", "see you {when}",
                     "i am on my way", "thank you", "we need milk", "please call me back",
                     "the train is late", "it is raining here", "where are you", "good night",
                     "i left the lights on", "bring the music", "i forgot my keys")},
    {"genre", CHOICES("jazz", "rock", "classical music", "some blues", "hip hop", "piano music",
                      "country", "techno", "opera", "reggae", "folk songs", "dance music",
                      "something quiet", "relaxing music", "christmas songs")},
    {"artist", CHOICES("the beatles", "mozart", "björk", "beyoncé", "abba", "miles davis", "bach",
                       "queen", "nina simone", "johnny cash", "madonna", "prince")},
    {"song", CHOICES("yesterday", "let it be", "dancing queen", "here comes the sun",
                     "singing in the rain", "wake me up", "call me maybe", "purple rain",
                     "light my fire", "good morning", "eight days a week", "blue monday")},
    {"room", CHOICES("the kitchen", "the bedroom", "the living room", "the hall", "the bathroom",
                     "the garage", "the garden", "the kids room", "the office")},
    {"light", CHOICES("the lights", "the light", "the lamp", "all lights", "the lights in {room}",
                      "the light in {room}", "the {colour} lamp")},
    {"colour", CHOICES("red", "blue", "green", "warm white", "purple", "orange", "yellow")},
    {"aside",
     CHOICES("{person} is here", "it is late", "the music is too loud", "i am in {room}",
             "the alarm rang at {clock}", "it is dark", "i hear rain", "the weather is awful",
             "my {event} is {when}", "i just called {person}", "i got a message from {person}",
             "the timer is done", "i am in {city}", "{song} is my favourite song",
             "i wrote it down", "the lights are on", "we are on the way to {place}",
             "my calendar is full", "{food} is in the oven", "i have to {chore} {when}")},
    {"sky", CHOICES("rain", "snow", "be sunny", "be cold", "be hot", "be windy", "freeze",
                    "be foggy", "storm", "be nice outside", "clear up")},
};

struct intent {
    const char *name;
    const char *const *orders; /* imperatives: "can you" may precede them */
    const char *const *others; /* everything else */
};

static const struct intent INTENTS[] = {
    {"set_alarm",
     CHOICES("wake me at {clock} {when}", "wake me up at {clock}", "set an alarm for {clock}",
             "set the alarm to {clock} {when}", "set my alarm for {clock} {when}",
             "get me up at {clock} {when}", "wake us {when} at {clock}", "move my alarm to {clock}",
             "create an alarm at {clock} {when}", "wake me in {span}", "cancel my {clock} alarm",
             "turn off the alarm for {when}"),
     CHOICES("i need to get up at {clock} {when}", "alarm {clock} {when}", "alarm at {clock}",
             "i have to be up by {clock} {when}", "i must not oversleep {when}",
             "new alarm {when} {clock}", "don't let me sleep past {clock}",
             "i want to sleep until {clock} {when}")},
    {"set_timer",
     CHOICES("set a timer for {span}", "start a {span} timer", "count down {span}",
             "time {food} for {span}", "start the timer for {food}", "set the clock to {span}",
             "stop the timer", "add {span} to the timer", "tell me when {span} are over",
             "beep in {span}", "give me {span} for {food}", "set {span} for {food}"),
     CHOICES("timer {span}", "timer for {food} {span}", "{span} for {food}", "{span} from now",
             "{food} needs {span}", "how long is left on the timer", "{span} countdown",
             "{span} on the clock", "let me know when {food} is done in {span}")},
    {"add_reminder",
     CHOICES("remind me to {chore} {when}", "remind me at {clock} to {chore}",
             "remind me to {chore} in {span}", "set a reminder to {chore}",
             "set a reminder for {clock} to {chore}", "remind me about the {event} {when}",
             "make a note to {chore} {when}", "tell me to {chore} at {clock}",
             "add {chore} to my list", "put {chore} on my to do list",
             "remind me {when} about {person}"),
     CHOICES("i must remember to {chore} {when}", "don't let me forget to {chore}",
             "i need to {chore} at {clock}", "don't forget {chore} {when}",
             "reminder {clock} {chore}", "to do {chore}", "i should {chore} {when}",
             "help me remember to {chore}", "i keep forgetting to {chore}")},
    {"check_calendar",
     CHOICES("show my calendar for {when}", "tell me my plans for {when}",
             "check if i am free {when}", "list my appointments {when}",
             "look up when my {event} is", "read me my schedule for {when}",
             "find the time of the {event}", "tell me what is on {when}"),
     CHOICES("what do i have {when}", "am i free at {clock} {when}", "when is my next {event}",
             "what time is the {event} {when}", "do i have a {event} {when}",
             "is there anything {when} at {clock}", "what is on my calendar",
             "how many meetings do i have {when}", "when do i meet {person}",
             "is the {event} still on {when}", "my agenda {when}", "where is the {event} {when}",
             "how long is my {event}", "anything planned {when}")},
    {"get_weather",
     CHOICES("tell me the weather in {city}", "give me the forecast for {when}",
             "check the weather for {when}", "show the weather at {place}",
             "check if it will {sky} {when}", "tell me how warm it is in {city}",
             "read the forecast for {city} {when}", "tell me if i need an umbrella {when}"),
     CHOICES("will it {sky} {when}", "will it {sky} in {city} {when}", "is it going to {sky}",
             "what is the weather like {when}", "do i need a coat {when}", "weather {city}",
             "how hot is it in {city}", "what is the temperature in {city} {when}",
             "is it raining in {city}", "when does the sun set {when}", "forecast {when}",
             "should i take an umbrella to {place}", "how cold will {when} be",
             "is it warm enough for {place} {when}")},
    {"play_music",
     CHOICES("play {genre}", "play {song}", "play {song} by {artist}", "play {genre} in {room}",
             "put on {genre}", "put on {artist}", "start my {genre} playlist", "turn up the music",
             "play something by {artist}", "shuffle {artist}", "skip this song",
             "turn the music off in {room}", "let me hear {song}", "wake up {room} with {genre}",
             "pause the music", "play it again", "find the song {song}"),
     CHOICES("i want to listen to {artist}", "i want to hear {song}", "some {genre} {when}",
             "music for {event}", "{song} by {artist}", "who sings {song}", "next song",
             "i am in the mood for {genre}", "louder in {room}", "do you have {song}",
             "how about {genre}", "what song is this")},
    {"send_message",
     CHOICES("text {person} {news}", "text {person} that {news}", "tell {person} {news}",
             "send a message to {person}", "send {person} a message saying {news}",
             "message {person} {news}", "write to {person} that {news}", "let {person} know {news}",
             "reply to {person} {news}", "ask {person} {news}", "tell {person} to {chore}",
             "send {news} to {person}", "email {person} about the {event}",
             "ask {person} to {chore} {when}", "answer {person} with {news}"),
     CHOICES("message for {person} {news}", "i want to text {person}",
             "{person} should know {news}", "a quick text to {person} {news}",
             "new message to {person}", "i need to tell {person} that {news}",
             "say to {person} {news}")},
    {"make_call",
     CHOICES("call {person}", "call {person} at work", "phone {person}", "ring {person}",
             "dial {person}", "give {person} a call", "get {person} on the phone",
             "call {person} back", "call {place}", "start a video call with {person}",
             "call {person} on speaker", "connect me to {person}", "put me through to {person}",
             "try {person} again", "hang up", "redial the last number"),
     CHOICES("i want to talk to {person}", "i need to speak with {person}", "video call {person}",
             "i would like to call {person}", "is {person} there for a call",
             "phone call to {person}", "can i speak to {person}", "get me {person}")},
    {"get_directions",
     CHOICES("take me to {place}", "navigate to {place}", "show me the way to {place}",
             "give me directions to {place}", "find a route to {place}", "drive me home",
             "find the fastest way to {place}", "bring me to {place}", "get me to {place}",
             "guide me from {place} to {place}", "show {place} on the map",
             "avoid the traffic on {street}", "get me to {place} by {clock}"),
     CHOICES("how do i get to {place}", "where is {place}", "how far is {place}",
             "how long does it take to {place}", "which bus goes to {place}", "i am lost",
             "what is the best way to {place}", "is there traffic on {street}",
             "when do i have to leave for {place}", "how long to walk to {place}",
             "i want to go to {place} {when}", "directions {place}", "from {place} to {place}")},
    {"control_lights",
     CHOICES("turn on {light}", "turn off {light}", "switch {light} on", "switch off {light}",
             "dim {light}", "make it brighter in {room}", "set {light} to {colour}",
             "make {room} {colour}", "turn {light} down to {amount} percent",
             "turn everything off in {room}", "turn {light} off in {span}", "light up {room}",
             "turn {light} on at {clock}", "make it darker", "set {room} to {amount} percent"),
     CHOICES("lights out", "it is too dark in {room}", "it is too bright in here", "{light} off",
             "{light} on", "{colour} light in {room}", "i can't see anything in {room}",
             "who left {light} on", "more light", "are {light} still on", "i want {room} {colour}",
             "no light in {room} {when}")},
};

static void expand(struct rng *rng, struct line *out, const char *template);

static void expand_any(struct rng *rng, struct line *out, const char *const *choices) {
    uint32_t count = 0;
    while (choices[count] != NULL)
        count++;
    expand(rng, out, choices[rng_below(rng, count)]);
}

static void expand_rule(struct rng *rng, struct line *out, const char *name, size_t length) {
    for (uint32_t i = 0; i < COUNT(RULES); i++) {
        if (strncmp(RULES[i].name, name, length) == 0 && RULES[i].name[length] == '\0') {
            expand_any(rng, out, RULES[i].choices);
            return;
        }
    }
    fprintf(stderr, "make-data: the grammar has no rule {%.*s}\n", (int)length, name);
    exit(1);
}

static void expand(struct rng *rng, struct line *out, const char *template) {
    while (*template != '\0') {
        size_t plain = strcspn(template, "{");
        line_add(out, "%.*s", (int)plain, template);
        template += plain;
        if (*template == '{') {
            size_t length = strcspn(template, "}") - 1;
            expand_rule(rng, out, template + 1, length);
            template += length + 2;
        }
    }
}

/* ---- noise: what people and microphones do to a command ------------------------------------ */

/* A sentence's words, at most every other byte of a line; they lie in a copy the caller owns. */
struct words {
    char *word[LINE_BYTES / 2];
    uint32_t count;
};

static void split_words(char *text, struct words *words) {
    words->count = 0;
    for (char *at = text; *at != '\0';) {
        words->word[words->count++] = at;
        at += strcspn(at, " ");
        if (*at == ' ')
            *at++ = '\0';
    }
}

/* One slip of the fingers in a word of plain letters: swap, omit, or hit a neighbouring key. */
static void misspell(struct rng *rng, char *word) {
    static const char *const row[] = {"qwertyuiop", "asdfghjkl", "zxcvbnm"};
    size_t length = strlen(word);
    if (length < 3 || strspn(word, "abcdefghijklmnopqrstuvwxyz") != length)
        return;
    size_t at = rng_below(rng, (uint32_t)length - 1);
    uint32_t kind = rng_below(rng, 3);
    if (kind == 0) {
        char first = word[at];
        word[at] = word[at + 1];
        word[at + 1] = first;
    } else if (kind == 1) {
        memmove(word + at, word + at + 1, length - at);
    } else {
        for (uint32_t i = 0; i < COUNT(row); i++) {
            const char *key = strchr(row[i], word[at]);
            if (key != NULL) {
                word[at] = key == row[i] ? key[1] : key[-1];
                return;
            }
        }
    }
}

/* What a recognizer may write for a word that sounds like another. */
static const char *mishear(const char *word) {
    static const char *const alike[][2] = {
        {"wake", "make"},       {"alarm", "arm"},       {"timer", "time"},   {"remind", "rewind"},
        {"call", "tell"},       {"text", "next"},       {"play", "plan"},    {"light", "right"},
        {"lights", "nights"},   {"weather", "whether"}, {"rain", "train"},   {"dim", "tim"},
        {"to", "two"},          {"for", "four"},        {"at", "eight"},     {"phone", "home"},
        {"message", "massage"}, {"meeting", "eating"},  {"cold", "called"},  {"way", "weigh"},
        {"ring", "bring"},      {"song", "long"},       {"music", "museum"}, {"where", "when"},
        {"send", "set"},        {"turn", "time"},       {"set", "said"},     {"get", "let"}};
    for (uint32_t i = 0; i < COUNT(alike); i++) {
        for (uint32_t side = 0; side < 2; side++) {
            if (strcmp(word, alike[i][side]) == 0)
                return alike[i][1 - side];
        }
    }
    return word;
}

/* The words from first to end are left when a microphone opens late or closes early. */
static void cut_off(struct rng *rng, uint32_t *first, uint32_t *end) {
    uint32_t count = *end;
    if (count > 4 && rng_chance(rng, 14))
        *first = rng_between(rng, 1, count > 6 ? 3 : 2);
    else if (count > 4 && rng_chance(rng, 14))
        *end = count - rng_between(rng, 1, 2);
}

/* Leaves out a word now and then, hesitates, mistypes, and hears badly. */
static void add_noise(struct rng *rng, const char *clean, struct line *out) {
    static const char *const fillers[] = {"uh", "um", "er", "like", "well"};
    struct line copy;
    struct words words;
    line_clear(&copy);
    line_add(&copy, "%s", clean);
    split_words(copy.text, &words);
    uint32_t first = 0;
    uint32_t end = words.count;
    cut_off(rng, &first, &end);
    uint32_t omit = rng_chance(rng, 22) && end > 3 ? rng_below(rng, end) : UINT32_MAX;
    uint32_t hesitate = rng_chance(rng, 6) ? rng_below(rng, end) : UINT32_MAX;
    uint32_t mishears = rng_chance(rng, 25) ? 50 : 0; /* percent of its words */
    uint32_t typos = rng_chance(rng, 40) ? rng_between(rng, 1, 4) : 0;
    for (uint32_t i = 0; i < typos; i++)
        misspell(rng, words.word[rng_below(rng, end)]);
    for (uint32_t i = first; i < end; i++) {
        if (i == hesitate)
            line_say(out, fillers[rng_below(rng, COUNT(fillers))]);
        if (i != omit)
            line_say(out, rng_chance(rng, mishears) ? mishear(words.word[i]) : words.word[i]);
    }
}

/* ---- the intent job ------------------------------------------------------------------------ */

/* A command, perhaps with courtesies, and with a remark that is not what is asked for. */
static void add_politely(struct rng *rng, struct line *out, const struct intent *intent) {
    static const char *const before[] = {
        "please",        "can you",         "could you", "would you", "could you please",
        "i want you to", "i'd like you to", "hey",       "ok now",    "quick"};
    static const char *const openings[] = {"hey", "hello", "so", "ok", "excuse me"};
    static const char *const endings[] = {"please",    "thanks",     "thank you",
                                          "right now", "if you can", "for me"};
    if (rng_chance(rng, 15))
        expand(rng, out, rng_chance(rng, 50) ? "{aside} so " : "{aside} ");
    bool order = rng_chance(rng, 60);
    if (order && rng_chance(rng, 45))
        line_add(out, "%s ", before[rng_below(rng, COUNT(before))]);
    else if (!order && rng_chance(rng, 15))
        line_add(out, "%s ", openings[rng_below(rng, COUNT(openings))]);
    expand_any(rng, out, order ? intent->orders : intent->others);
    if (rng_chance(rng, 8))
        expand(rng, out, rng_chance(rng, 50) ? " because {aside}" : " {aside}");
    if (rng_chance(rng, 18))
        line_say(out, endings[rng_below(rng, COUNT(endings))]);
}

void intent_make_command(struct rng *rng, struct intent_command *command) {
    static const char *const marks[] = {"", "", "", "", ".", "!", "?", "?"};
    command->label = rng_below(rng, COUNT(INTENTS));
    line_clear(&command->clean);
    line_clear(&command->noisy);
    add_politely(rng, &command->clean, &INTENTS[command->label]);
    add_noise(rng, command->clean.text, &command->noisy);
    char *first = command->noisy.text;
    if (rng_chance(rng, 25) && *first >= 'a' && *first <= 'z')
        *first = (char)(*first - 'a' + 'A');
    line_add(&command->noisy, "%s", marks[rng_below(rng, COUNT(marks))]);
}

const char *intent_name(uint32_t label) {
    return label < COUNT(INTENTS) ? INTENTS[label].name : NULL;
}
