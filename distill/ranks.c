/* Sums over the ranks of MPI, in a fixed order. */
#include "distill/ranks.h"

#ifdef PARE_MPI

#include <mpi.h>
#include <string.h>

#include "core/memory.h"

/* Floats that are summed at a time. */
enum { PIECE = 1 << 22 };

static PareStatus check(int result, PareError *err) {
    if (result == MPI_SUCCESS)
        return PARE_OK;
    char text[MPI_MAX_ERROR_STRING] = "";
    int length;
    MPI_Error_string(result, text, &length);
    return pare_error_set(err, PARE_E_IO, "MPI: %s", text);
}

PareStatus pare_ranks_start(int *argc, char ***argv, PareError *err) {
    int given;
    PareStatus st = check(MPI_Init_thread(argc, argv, MPI_THREAD_FUNNELED, &given), err);
    return st ? st : check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), err);
}

void pare_ranks_finish(bool failed) {
    if (failed && pare_ranks_count() > 1)
        MPI_Abort(MPI_COMM_WORLD, 1); /* the others wait for this one */
    else
        MPI_Finalize();
}

bool pare_ranks_built(void) {
    return true;
}

size_t pare_ranks_count(void) {
    int count = 1;
    MPI_Comm_size(MPI_COMM_WORLD, &count);
    return (size_t)count;
}

size_t pare_ranks_rank(void) {
    int rank = 0;
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    return (size_t)rank;
}

/* Every rank adds up one share of the floats, in the order of ranks, and gives it to the others. */
static PareStatus sum_piece(float *values, size_t count, float *room, size_t ranks,
                            PareError *err) {
    size_t share = (count + ranks - 1) / ranks;
    float *sent = room, *received = room + share * ranks;
    memcpy(sent, values, count * sizeof *values);
    memset(sent + count, 0, (share * ranks - count) * sizeof *sent);
    PareStatus st = check(
        MPI_Alltoall(sent, (int)share, MPI_FLOAT, received, (int)share, MPI_FLOAT, MPI_COMM_WORLD),
        err);
    for (size_t r = 1; r < ranks && !st; r++)
        for (size_t i = 0; i < share; i++)
            received[i] += received[r * share + i];
    if (!st)
        st = check(MPI_Allgather(received, (int)share, MPI_FLOAT, sent, (int)share, MPI_FLOAT,
                                 MPI_COMM_WORLD),
                   err);
    memcpy(values, sent, count * sizeof *values);
    return st;
}

PareStatus pare_ranks_sum(float *values, size_t count, PareError *err) {
    size_t ranks = pare_ranks_count();
    PareStatus st = PARE_OK;
    if (ranks == 1)
        return PARE_OK;
    float *room = pare_alloc(2 * (PIECE + ranks), sizeof *room);
    if (!room)
        return pare_memory_error(err, "the sum over ranks");
    for (size_t at = 0; at < count && !st; at += PIECE)
        st = sum_piece(values + at, count - at < PIECE ? count - at : PIECE, room, ranks, err);
    pare_free(room);
    return st;
}

PareStatus pare_ranks_sum_double(double *values, size_t count, PareError *err) {
    size_t ranks = pare_ranks_count();
    double *all = ranks == 1 ? NULL : pare_alloc(count * ranks, sizeof *all);
    if (ranks == 1)
        return PARE_OK;
    if (!all)
        return pare_memory_error(err, "the sum over ranks");
    PareStatus st = check(
        MPI_Allgather(values, (int)count, MPI_DOUBLE, all, (int)count, MPI_DOUBLE, MPI_COMM_WORLD),
        err);
    for (size_t i = 0; i < count && !st; i++) {
        values[i] = all[i];
        for (size_t r = 1; r < ranks; r++)
            values[i] += all[r * count + i];
    }
    pare_free(all);
    return st;
}

PareStatus pare_ranks_share(void *bytes, size_t size, PareError *err) {
    return check(MPI_Bcast(bytes, (int)size, MPI_BYTE, 0, MPI_COMM_WORLD), err);
}

PareStatus pare_ranks_any(bool *flag, PareError *err) {
    int mine = *flag, any = mine;
    PareStatus st = check(MPI_Allreduce(&mine, &any, 1, MPI_INT, MPI_MAX, MPI_COMM_WORLD), err);
    *flag = any != 0;
    return st;
}

#else

PareStatus pare_ranks_start(int *argc, char ***argv, PareError *err) {
    (void)argc;
    (void)argv;
    (void)err;
    return PARE_OK;
}

void pare_ranks_finish(bool failed) {
    (void)failed;
}

bool pare_ranks_built(void) {
    return false;
}

size_t pare_ranks_count(void) {
    return 1;
}

size_t pare_ranks_rank(void) {
    return 0;
}

PareStatus pare_ranks_sum(float *values, size_t count, PareError *err) {
    (void)values;
    (void)count;
    (void)err;
    return PARE_OK;
}

PareStatus pare_ranks_sum_double(double *values, size_t count, PareError *err) {
    (void)values;
    (void)count;
    (void)err;
    return PARE_OK;
}

PareStatus pare_ranks_share(void *bytes, size_t size, PareError *err) {
    (void)bytes;
    (void)size;
    (void)err;
    return PARE_OK;
}

PareStatus pare_ranks_any(bool *flag, PareError *err) {
    (void)flag;
    (void)err;
    return PARE_OK;
}

#endif
