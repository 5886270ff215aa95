/* SPDX-License-Identifier: MIT */
/* disk.c: states on disk. In the folder options.disk there are two files: `states`, whose
 * k-th block is the place k, and `sweep`, a record of where the run stands. The record is
 * written anew after each state that is stored and each segment that is reversed, or,
 * where no place is stored to twice, once as many bytes of states have moved as it has;
 * it takes its name when it is whole, and a place that it refers to is not written before
 * the next one. So whenever the program is killed, record and places belong together.
 * Read next: levels.c. */
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "checkpoints.h"
#include "unroll.h"

/* What a record begins with. */
typedef struct sweep_head {
    char form[8];
    uint64_t training; /* hash of what was trained */
    double outer, inner;
    int64_t forward_steps, reverse_steps, swept; /* swept: `after` and more follow */
    hti_growth growth;
} sweep_head;
static const char sweep_form[8] = "ht-swp1";

struct hti_disk {
    int folder, states; /* descriptors; states is locked */
    int64_t places;
    size_t moved; /* bytes of states since the last record */
    bool anew;    /* a record was there, but the run at hand does not go on from it */
    uint64_t training;
    int64_t *numbers; /* of the schedule of segments */
    uint64_t *hash;   /* (places) of the state in each */
};

/* Sizes. */

size_t hti_disk_bytes(hti_choice c)
{
    size_t places = (size_t)c.places;
    return sizeof(hti_disk) + (2 * places + HTI_SCHEDULE_NUMBERS) * sizeof(int64_t);
}

/* A record: head, schedule and hashes; if `swept`, `after`, cotangents of each loss, what
 * the sweep has summed, theta_T and s_T. */
static size_t record_size(const ht_bilevel *b, int64_t places, bool swept)
{
    size_t eta = hti_set_bytes(hti_gradient(b)), outers = (size_t)hti_outers(b);
    size_t numbers = 2 * (size_t)places + HTI_SCHEDULE_NUMBERS + outers + 1;
    size_t sums = eta + (2 + outers) * b->memory.block_bytes;
    return sizeof(sweep_head) + numbers * sizeof(int64_t) + (swept ? sums : 0);
}

size_t hti_disk_size(const ht_bilevel *b, hti_choice c)
{
    /* A record, and the next one beside it. */
    return (size_t)c.places * b->memory.block_bytes + 2 * record_size(b, c.places, true);
}

int64_t hti_disk_places(const ht_bilevel *b, const ht_bilevel_options *o)
{
    if (!o->disk_bytes) return HTI_MAX_STEPS;
    size_t place = b->memory.block_bytes + 4 * sizeof(int64_t),
           own = 2 * record_size(b, 0, true);
    return o->disk_bytes < own ? 0 : (int64_t)((o->disk_bytes - own) / place);
}

/* Files. */

static bool disk_failed(const ht_bilevel *b, const char *what)
{
    return HTI_REFUSED(b->ctx, HT_ERROR_FILE,
                       "in options.disk %s: %s\n"
                       "  hint: %s",
                       what, strerror(errno), hti_hint_of_writing(errno));
}

/* All n bytes, at an offset; short and interrupted calls go on. */
static bool move_bytes(int file, void *at, size_t n, off_t offset, bool out)
{
    for (unsigned char *p = at; n > 0;) {
        ssize_t done = out ? pwrite(file, p, n, offset) : pread(file, p, n, offset);
        if (done < 0 && errno == EINTR) continue;
        if (done == 0) errno = EIO; /* a file that is too short */
        if (done <= 0) return false;
        p += done;
        n -= (size_t)done;
        offset += done;
    }
    return true;
}

static bool open_states(ht_bilevel *b, const char *folder)
{
    hti_disk *d = b->memory.disk;
    if (mkdir(folder, 0777) && errno != EEXIST)
        return disk_failed(b, "the folder cannot be made");
    d->folder = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->folder < 0) return disk_failed(b, "the folder cannot be opened");
    d->states = openat(d->folder, "states", O_RDWR | O_CREAT | O_CLOEXEC, 0666);
    if (d->states < 0) return disk_failed(b, "the file states cannot be made");
    if (!flock(d->states, LOCK_EX | LOCK_NB)) return true;
    close(d->states);
    d->states = -1;
    return HTI_REFUSED(b->ctx, HT_ERROR_FILE,
                       "options.disk is %s, which another bilevel uses\n"
                       "  hint: a folder for each",
                       folder);
}

static bool take_room(ht_bilevel *b, hti_choice c)
{
    off_t bytes = (off_t)((size_t)c.places * b->memory.block_bytes);
    errno = posix_fallocate(b->memory.disk->states, 0, bytes);
    if (!errno) return true;
    int error = errno;
    return HTI_REFUSED(b->ctx, HT_ERROR_FILE,
                       "options.disk has no room for %lld bytes, %lld states: %s\n"
                       "  hint: another disk, or less by options.disk_bytes",
                       (long long)bytes, (long long)c.places, strerror(error));
}

bool hti_disk_open(ht_bilevel *b)
{
    hti_choice c = b->memory.choice;
    hti_disk *d = b->memory.disk = hti_zalloc(b->ctx, 1, hti_disk_bytes(c));
    if (!d) return false;
    d->folder = d->states = -1;
    d->places = c.places;
    d->numbers = (int64_t *)(void *)(d + 1);
    d->hash = (uint64_t *)(void *)(d->numbers + HTI_SCHEDULE_NUMBERS + c.places);
    return open_states(b, b->options.disk) && take_room(b, c);
}

void hti_disk_close(ht_bilevel *b)
{
    hti_disk *d = b->memory.disk;
    if (!d) return;
    if (d->states >= 0 && faccessat(d->folder, "sweep", F_OK, 0))
        unlinkat(d->folder, "states", 0);
    if (d->states >= 0) close(d->states);
    if (d->folder >= 0) close(d->folder);
    hti_resize(b->ctx, d, hti_disk_bytes(b->memory.choice), 0);
    b->memory.disk = NULL;
}

/* A record. */

/* A file that parts are written to or read from, one after the other. */
typedef struct record {
    int file;
    off_t at;
    uint64_t hash; /* of all parts so far */
    bool out, ok;
} record;

static void part(record *r, void *at, size_t n)
{
    r->ok = r->ok && move_bytes(r->file, at, n, r->at, r->out);
    r->at += (off_t)n;
    if (r->ok) r->hash = hti_hash(r->hash, at, n);
}

static void part_set(record *r, const ht_set *set)
{
    for (int i = 0; set && i < set->n; i++)
        part(r, set->tensor[i]->array.data, ht_tensor_bytes(set->tensor[i]));
}

/* Cotangents where they are, of one loss after the other. */
static void part_cotangents(record *r, const ht_bilevel *b)
{
    const hti_problem *p = &b->problem;
    const ht_set *set[] = {p->theta, p->state};
    for (int64_t k = 0; k < hti_outers(b); k++) {
        size_t offset = (size_t)k * b->memory.block_bytes;
        void *const *at = b->run.cotangent;
        for (int s = 0; s < 2; s++)
            for (int i = 0; i < set[s]->n; i++)
                part(r, (unsigned char *)*at++ + offset,
                     ht_tensor_bytes(set[s]->tensor[i]));
    }
}

static void part_run(record *r, ht_bilevel *b, sweep_head *head)
{
    hti_disk *d = b->memory.disk;
    part(r, head, sizeof *head);
    part(r, d->numbers, (size_t)(HTI_SCHEDULE_NUMBERS + d->places) * sizeof *d->numbers);
    part(r, d->hash, (size_t)d->places * sizeof *d->hash);
    if (!r->ok || !head->swept) return;
    part(r, hti_block(b, b->run.after), b->memory.block_bytes);
    part_cotangents(r, b);
    part_set(r, hti_gradient(b));
    part_set(r, b->problem.final);
    part_set(r, b->problem.ended);
    part(r, b->problem.outer_value, (size_t)b->problem.outers * sizeof(double));
}

static bool write_record(ht_bilevel *b, bool swept)
{
    hti_disk *d = b->memory.disk;
    const ht_bilevel_result *at = &b->run.result;
    sweep_head head = {.training = d->training,
                       .outer = at->outer,
                       .inner = at->inner,
                       .forward_steps = at->forward_steps,
                       .reverse_steps = at->reverse_steps,
                       .swept = swept,
                       .growth = b->run.growth};
    memcpy(head.form, sweep_form, sizeof head.form);
    hti_schedule_move(b->memory.plan.segments, d->numbers, true);
    record r = {.hash = HTI_HASH_BEGIN, .out = true, .ok = true};
    r.file =
        openat(d->folder, "sweep.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (r.file < 0) return disk_failed(b, "the file sweep.new cannot be made");
    part_run(&r, b, &head);
    uint64_t hash = r.hash;
    part(&r, &hash, sizeof hash);
    if (!r.ok) disk_failed(b, "the file sweep.new cannot be written");
    close(r.file);
    if (r.ok && renameat(d->folder, "sweep.new", d->folder, "sweep"))
        return disk_failed(b, "the file sweep cannot be made");
    return r.ok;
}

/* Writes a record, unless it has more bytes than the states that have moved since the
 * last and no place that this one refers to is stored to meanwhile. */
static bool keep_record(ht_bilevel *b, bool swept)
{
    hti_disk *d = b->memory.disk;
    const hti_plan *plan = &b->memory.plan;
    int64_t segments = hti_segments(b->memory.choice, plan->last - plan->first);
    if (d->places >= segments - 1 && d->moved < record_size(b, d->places, swept))
        return true;
    d->moved = 0;
    return write_record(b, swept);
}

/* What the record of an earlier sitting says, to where it belongs; the schedule only if
 * all of it can be believed. */
static bool read_record(ht_bilevel *b, int file)
{
    hti_disk *d = b->memory.disk;
    sweep_head head = {.swept = 0};
    record r = {.file = file, .hash = HTI_HASH_BEGIN, .ok = true};
    uint64_t hash, same;
    if (!move_bytes(file, &head, sizeof head, 0, false) ||
        memcmp(head.form, sweep_form, sizeof head.form) || head.training != d->training)
        return false;
    if (head.swept) {
        hti_block_move(b, &b->run.after, hti_block_take(b));
        hti_cotangents_clear(b);
    }
    part_run(&r, b, &head);
    same = r.hash;
    part(&r, &hash, sizeof hash);
    if (!r.ok || hash != same) return false;
    ht_bilevel_result *to = &b->run.result;
    to->outer = head.outer;
    to->inner = head.inner;
    to->forward_steps = head.forward_steps;
    to->reverse_steps = head.reverse_steps;
    b->run.growth = head.growth;
    hti_plan_resume(&b->memory.plan, d->numbers);
    return true;
}

/* The run. */

static uint64_t hash_set(uint64_t hash, const ht_set *set)
{
    for (int i = 0; i < set->n; i++)
        hash =
            hti_hash(hash, set->tensor[i]->array.data, ht_tensor_bytes(set->tensor[i]));
    return hash;
}

/* Of all that two runs must have in common to be one: theta_0 and the rule's state, which
 * are current, outer variables, programs with the numbers in them, and the batch of the
 * first step, which is there. Other batches, and rates by a schedule of the caller's, are
 * not seen. */
static uint64_t hash_training(const ht_bilevel *b, uint64_t outer_step)
{
    const hti_problem *p = &b->problem;
    hti_choice c = b->memory.choice;
    const int64_t number[] = {p->steps,
                              p->first,
                              p->start,
                              p->outers,
                              c.slots,
                              c.segment,
                              c.places,
                              c.level,
                              (int64_t)outer_step,
                              (int64_t)b->method->kind,
                              (int64_t)b->memory.block_bytes};
    uint64_t hash = hti_hash(HTI_HASH_BEGIN, number, sizeof number);
    for (int k = 0; k < HTI_CALLS; k++) {
        const ht_program *program = b->programs.call[k].program;
        uint64_t digest = program ? hti_program_digest(program) : 0;
        hash = hti_hash(hash, &digest, sizeof digest);
    }
    hash = hti_hash(hash, hti_block(b, b->run.current), b->memory.block_bytes);
    hash = hash_set(hash, p->eta);
    hash = hash_set(hash, p->inner_data);
    return p->asked.outer_batch ? hash : hash_set(hash, p->outer_data);
}

/* Back to what a run begins with. */
static bool begin_anew(ht_bilevel *b)
{
    ht_bilevel_result *r = &b->run.result;
    b->memory.disk->anew = true;
    r->outer = r->inner = (double)NAN;
    r->forward_steps = r->reverse_steps = 0;
    b->run.growth = (hti_growth){0};
    hti_plan_reset(&b->memory.plan);
    return hti_run_initial(b);
}

bool hti_disk_begin(ht_bilevel *b, uint64_t outer_step)
{
    hti_disk *d = b->memory.disk;
    if (!d) return true;
    d->anew = false;
    d->moved = SIZE_MAX / 2; /* the first record is due at once: it replaces another's */
    if (!hti_enter_step(b, 0)) return false;
    d->training = hash_training(b, outer_step);
    int file = openat(d->folder, "sweep", O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return errno == ENOENT || disk_failed(b, "the file sweep cannot be opened");
    bool goes_on = read_record(b, file);
    close(file);
    if (!goes_on) return begin_anew(b);
    b->run.result.resumed_steps =
        b->run.result.forward_steps + b->run.result.reverse_steps;
    /* After a state that was stored it is current; after a segment none is. */
    int64_t place = hti_plan_stands_at(&b->memory.plan);
    if (place >= 0) return hti_disk_fetch(b, place);
    hti_block_move(b, &b->run.current, HTI_NO_BLOCK);
    return true;
}

void hti_disk_explain(ht_bilevel *b)
{
    if (b->memory.disk && b->memory.disk->anew)
        hti_note(b,
                 "options.disk had a sweep of another training, or a damaged one, that "
                 "was not ended: it was not gone on with");
}

bool hti_disk_store(ht_bilevel *b, int64_t place)
{
    hti_disk *d = b->memory.disk;
    unsigned char *state = hti_block(b, b->run.current);
    size_t bytes = b->memory.block_bytes;
    d->hash[place] = hti_hash(HTI_HASH_BEGIN, state, bytes);
    if (!move_bytes(d->states, state, bytes, place * (off_t)bytes, true))
        return disk_failed(b, "a state cannot be written");
    b->run.result.disk_written += bytes;
    d->moved += bytes;
    return b->run.after != HTI_NO_BLOCK || keep_record(b, false);
}

bool hti_disk_fetch(ht_bilevel *b, int64_t place)
{
    hti_disk *d = b->memory.disk;
    size_t bytes = b->memory.block_bytes;
    hti_block_move(b, &b->run.current, HTI_NO_BLOCK);
    hti_block_move(b, &b->run.before, HTI_NO_BLOCK);
    int64_t block = hti_block_take(b);
    hti_block_move(b, &b->run.current, block);
    if (!move_bytes(d->states, hti_block(b, block), bytes, place * (off_t)bytes, false))
        return disk_failed(b, "a state cannot be read");
    b->run.result.disk_read += bytes;
    d->moved += bytes;
    return hti_hash(HTI_HASH_BEGIN, hti_block(b, block), bytes) == d->hash[place] ||
           HTI_REFUSED(b->ctx, HT_ERROR_FORMAT,
                       "in options.disk the state %lld is not what was written\n"
                       "  hint: has another program changed the file states? without the "
                       "file sweep a run begins anew",
                       (long long)place);
}

bool hti_disk_mark(ht_bilevel *b)
{
    return keep_record(b, true);
}

bool hti_disk_end(ht_bilevel *b)
{
    hti_disk *d = b->memory.disk;
    return !d || !unlinkat(d->folder, "sweep", 0) || errno == ENOENT ||
           disk_failed(b, "the file sweep cannot be removed");
}
