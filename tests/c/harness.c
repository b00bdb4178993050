/*
 * harness.c -- checks, failing allocations, a bit generator, and problems.
 *
 * The linker sends every malloc and calloc of the core through __wrap_malloc and __wrap_calloc.
 */
#include "harness.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t failures;
static int64_t allocations_seen, failing_allocation;

void *
__real_malloc(size_t size);
void *
__real_calloc(size_t count, size_t size);
void *
__wrap_malloc(size_t size);
void *
__wrap_calloc(size_t count, size_t size);

void
check(bool condition, const char *text, const char *file, int line)
{
    if (condition)
        return;
    failures++;
    printf("%s:%d: %s\n", file, line, text);
}

void
check_equal(int64_t a, int64_t b, const char *text, const char *file, int line)
{
    if (a == b)
        return;
    failures++;
    printf("%s:%d: %s, but %" PRId64 " != %" PRId64 "\n", file, line, text, a, b);
}

static bool
allocation_fails(void)
{
    return ++allocations_seen == failing_allocation;
}

void *
__wrap_malloc(size_t size)
{
    return allocation_fails() ? NULL : __real_malloc(size);
}

void *
__wrap_calloc(size_t count, size_t size)
{
    return allocation_fails() ? NULL : __real_calloc(count, size);
}

int64_t
allocations_fail_at(int64_t k)
{
    int64_t seen = allocations_seen;
    allocations_seen = 0;
    failing_allocation = k;
    return seen;
}

uint64_t
random_next(random_t *self)
{
    uint64_t z = self->state += UINT64_C(0x9e3779b97f4a7c15);
    self->draws++;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static uint64_t
next_uint64(void *state)
{
    return random_next(state);
}

void
random_init(random_t *self, uint64_t seed)
{
    memset(self, 0, sizeof *self);
    self->state = seed;
    self->bitgen.state = self;
    self->bitgen.next_uint64 = next_uint64;
}

int64_t
random_below(random_t *self, int64_t below)
{
    return (int64_t)(random_next(self) % (uint64_t)below);
}

static void
problem_connect(problem_t *self)
{
    memset(self, 0, sizeof *self);
    self->files.size_bytes = self->size_bytes;
    self->files.read_only = self->read_only;
    self->plan.threshold_bytes = -1;
    self->plan.rounds = 3;
    self->source.alias = self->alias;
    random_init(&self->random, 1);
    self->source.bitgen = &self->random.bitgen;
    self->record.final_copy_bytes = self->curve[0];
    self->record.precopy_bytes = self->curve[1];
    self->record.resent_bytes = self->curve[2];
    self->record.rounds_completed = self->curve[3];
    self->record.present_bytes = self->curve[4];
}

void
problem_uniform(problem_t *self)
{
    double share[FILES_MOST];
    for (int64_t i = 0; i < self->files.count; i++)
        share[i] = self->read_only[i] ? 0.0 : 1.0;
    self->source.alias_count = pc_alias_build(share, self->files.count, self->alias);
}

void
problem_init(problem_t *self)
{
    static const int64_t sizes[] = {3, 5, 2, 7};
    problem_connect(self);
    self->files.count = 4;
    memcpy(self->size_bytes, sizes, sizeof sizes);
    self->read_only[1] = 1;
    self->plan.cycles = 5;
    self->plan.writes_per_cycle = 6;
    self->plan.budget_bytes = 10;
    problem_uniform(self);
}

static void
draw_files(problem_t *self, random_t *random)
{
    static const int64_t most[] = {1, 8, 70, 300, FILES_MOST};
    static const int64_t largest[] = {1, 3, 1000, INT64_C(1) << 40};
    int64_t fixed_in_ten = random_below(random, 11);
    int64_t sizes = largest[random_below(random, 4)];
    self->files.count = 1 + random_below(random, most[random_below(random, 5)]);
    for (int64_t i = 0; i < self->files.count; i++) {
        self->size_bytes[i] = random_below(random, sizes + 1);
        self->read_only[i] = random_below(random, 10) < fixed_in_ten;
        self->key[i] = (double)random_below(random, 5) - 2.0;
    }
}

static void
draw_history(problem_t *self, random_t *random)
{
    static const int64_t most[] = {1, 5, 70, 1000};
    int64_t least = random_below(random, 2) ? 60 : 0;
    int64_t span = most[random_below(random, 4)];
    for (int64_t i = 0; i < self->files.count; i++)
        self->history[i] = self->read_only[i] ? 0 : least + random_below(random, span);
    self->plan.history = self->history;
}

bool
uses(int order, unsigned what)
{
    return pc_orders[order].uses & what;
}

int
order_named(const char *name)
{
    int order = 0;
    while (strcmp(pc_orders[order].name, name) != 0)
        order++;
    return order;
}

/* What only the schedule of cycles has. */
static void
draw_ledger(pc_plan_t *plan, random_t *random)
{
    bool cycles = plan->schedule == PC_SCHEDULE_CYCLES;
    plan->max_sends = cycles && !random_below(random, 4) ? 1 + random_below(random, 4) : 0;
    int64_t quarters = cycles && !random_below(random, 4) ? 1 + random_below(random, 12) : 0;
    plan->max_update_rate = (double)quarters / 4.0;
    plan->cost = cycles && !random_below(random, 4) ? PC_COST_DELTA : PC_COST_WHOLE;
    plan->write_bytes = random_below(random, 20);
    plan->overhead_bytes = random_below(random, 5);
}

void
problem_draw_plan(problem_t *self, random_t *random)
{
    pc_plan_t *plan = &self->plan;
    static const double half_life[] = {0.01, 0.3, 1.0, 20.0};
    int64_t total = 0, largest = 0;
    for (int64_t i = 0; i < self->files.count; i++) {
        total += self->size_bytes[i];
        largest = self->size_bytes[i] > largest ? self->size_bytes[i] : largest;
    }
    plan->schedule = random_below(random, 3) ? PC_SCHEDULE_CYCLES : PC_SCHEDULE_ROUNDS;
    plan->policy.order = (int)random_below(random, pc_order_count);
    plan->policy.key = uses(plan->policy.order, PC_USES_OWN_KEY) ? self->key : NULL;
    plan->policy.read_only_first = random_below(random, 2);
    plan->frequency = (pc_frequency_t)random_below(random, PC_FREQUENCY_EXPONENTIAL + 1);
    plan->half_life_cycles = half_life[random_below(random, 4)];
    plan->budget = (pc_budget_rule_t)random_below(random, PC_BUDGET_SKIP + 1);
    plan->dirty_tracking = (pc_dirty_tracking_t)random_below(random, PC_DIRTY_SENT + 1);
    plan->cycles = 1 + random_below(random, CYCLES_MOST);
    plan->rounds = 1 + random_below(random, 6);
    plan->writes_per_cycle = 1 + random_below(random, WRITES_MOST);
    plan->budget_bytes = random_below(random, total + 1) / (1 + random_below(random, 30));
    if (plan->budget == PC_BUDGET_WHOLE && plan->budget_bytes < largest)
        plan->budget_bytes = largest;
    plan->threshold_bytes = random_below(random, 3) ? -1 : random_below(random, total + 1);
    draw_ledger(plan, random);
}

static void
draw_source(problem_t *self, random_t *random)
{
    double share[FILES_MOST];
    int64_t needed = self->plan.cycles * self->plan.writes_per_cycle;
    for (int64_t i = 0; i < self->files.count; i++) {
        double part = (double)random_below(random, 1000) / 1000.0;
        share[i] = self->read_only[i] ? 0.0 : part * part * part * part;
    }
    self->source.alias_count = pc_alias_build(share, self->files.count, self->alias);
    if (self->source.alias_count > 0 && random_below(random, 2)) {
        pc_alias_draw(self->alias, self->source.alias_count, &self->random.bitgen, needed,
                      self->trace);
        self->source.trace = self->trace;
        self->source.trace_count = needed;
        self->source.alias_count = 0;
    }
}

void
problem_draw(problem_t *self, random_t *random)
{
    problem_connect(self);
    draw_files(self, random);
    if (random_below(random, 2)) {
        CHECK_EQUAL(pc_rank_by_size(self->size_bytes, self->files.count, self->by_size), 0);
        self->files.by_size = self->by_size;
    }
    if (random_below(random, 2))
        draw_history(self, random);
    problem_draw_plan(self, random);
    draw_source(self, random);
}

/* Most rows write; a file dies, or is renamed, one time in eight each. */
static void
draw_rows(problem_t *self, random_t *random, pc_rows_t *rows, int64_t (*column)[ROWS_MOST])
{
    int64_t writable[FILES_MOST], written = 0;
    int64_t largest = random_below(random, 2) ? 20 : INT64_C(1) << 40;
    for (int64_t id = 0; id < self->files.count; id++) {
        writable[written] = id;
        written += !self->read_only[id];
    }
    *rows = (pc_rows_t){
        random_below(random, ROWS_MOST), column[0], column[1], column[2], column[3], column[4]};
    for (int64_t i = 0; i < rows->count; i++) {
        int64_t id = writable[random_below(random, written)];
        int64_t from = writable[random_below(random, written)];
        int64_t kind = random_below(random, 8);
        column[0][i] = id;
        column[1][i] = random_below(random, 3);
        column[2][i] = random_below(random, 30);
        column[3][i] = kind == 0 ? -1 : random_below(random, largest + 1);
        column[4][i] = kind == 1 && from != id ? from : -1;
    }
}

void
problem_record(problem_t *self, random_t *random)
{
    pc_plan_t *plan = &self->plan;
    pc_recording_t *recording = &self->recording;
    self->read_only[random_below(random, self->files.count)] = 0;
    draw_rows(self, random, &recording->rows, self->column[0]);
    draw_rows(self, random, &recording->back, self->column[1]);
    for (int64_t i = 0; i < self->files.count; i++)
        self->present[i] = (uint8_t)random_below(random, 2);
    recording->present = self->present;
    self->source.recording = recording;
    plan->schedule = PC_SCHEDULE_CYCLES;
    plan->max_sends = 0;
    plan->max_update_rate = 0.0;
    plan->first_row = random_below(random, recording->rows.count + 1);
    int64_t end = 0, most = 1 + random_below(random, 500);
    bool any = recording->rows.count + recording->back.count > 0;
    for (int64_t c = 0; c < plan->cycles; c++) {
        end += any && random_below(random, 4) ? random_below(random, most) : 0;
        self->cycle_end[c] = end;
    }
    plan->cycle_end = self->cycle_end;
}

int
problem_run(problem_t *self)
{
    int status =
        pc_simulate(&self->files, &self->source, &self->plan, &self->record, 1, self->poll);
    return status < 0 ? status : (int)self->record.stop;
}

static const struct {
    const char *name;
    void (*run)(void);
} groups[] = {
    {"arguments", test_arguments},   {"allocations", test_allocations},
    {"invariants", test_invariants}, {"interrupts", test_interrupts},
    {"writes", test_writes},         {"rank", test_rank},
    {"shared", test_shared},         {"replay", test_replay},
};

/* A leak on purpose: shows that the leak detector is awake. */
static void
leak(void)
{
    char *volatile lost = malloc(100);
    lost[0] = 1;
    lost = NULL;
}

int
main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    bool found = strcmp(name, "leak") == 0;
    if (found)
        leak();
    for (size_t i = 0; i < sizeof groups / sizeof groups[0]; i++) {
        if (strcmp(name, groups[i].name) == 0) {
            found = true;
            groups[i].run();
        }
    }
    if (!found)
        printf("no such group: '%s'\n", name);
    return failures > 0 || !found;
}
