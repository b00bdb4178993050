/*
 * options.c -- one row per option: its name, its place in the plan, its type.
 *
 * The package validates and explains; here is what protects memory.  To add an option, add a field
 * to pc_plan_t and a row below; a choice also needs its list of names.
 */
#include "options.h"

#include <stddef.h>

typedef struct {
    const char *name;
    int value;
} name_t;

typedef enum { AS_CHOICE, AS_FLAG, AS_INTEGER, AS_REAL, AS_COUNTS, AS_REALS, AS_ENDS } type_t;

typedef struct {
    const char *name;
    size_t offset;
    type_t type;
    const name_t *names; /* of a choice; NULL: those of the orders */
} option_t;

static const name_t schedules[] = {
    {"cycles", PC_SCHEDULE_CYCLES}, {"rounds", PC_SCHEDULE_ROUNDS}, {NULL, 0}};
static const name_t frequencies[] = {{"count", PC_FREQUENCY_COUNT},
                                     {"last-cycle", PC_FREQUENCY_LAST_CYCLE},
                                     {"exponential", PC_FREQUENCY_EXPONENTIAL},
                                     {"oracle", PC_FREQUENCY_ORACLE},
                                     {NULL, 0}};
static const name_t budgets[] = {
    {"whole", PC_BUDGET_WHOLE}, {"carry", PC_BUDGET_CARRY}, {"skip", PC_BUDGET_SKIP}, {NULL, 0}};
static const name_t costs[] = {{"whole", PC_COST_WHOLE}, {"delta", PC_COST_DELTA}, {NULL, 0}};
static const name_t dirty_trackings[] = {
    {"round-start", PC_DIRTY_ROUND_START}, {"sent", PC_DIRTY_SENT}, {NULL, 0}};
static const name_t stops[] = {{"cycles", PC_STOP_CYCLES},
                               {"threshold", PC_STOP_THRESHOLD},
                               {"rounds", PC_STOP_ROUNDS},
                               {"clean", PC_STOP_CLEAN},
                               {NULL, 0}};

#define AT(field) offsetof(pc_plan_t, field)

static const option_t options[] = {
    {"schedule", AT(schedule), AS_CHOICE, schedules},
    {"order", AT(policy.order), AS_CHOICE, NULL},
    {"key", AT(policy.key), AS_REALS, NULL},
    {"read_only_first", AT(policy.read_only_first), AS_FLAG, NULL},
    {"frequency", AT(frequency), AS_CHOICE, frequencies},
    {"half_life", AT(half_life_cycles), AS_REAL, NULL},
    {"history", AT(history), AS_COUNTS, NULL},
    {"max_sends", AT(max_sends), AS_INTEGER, NULL},
    {"max_update_rate", AT(max_update_rate), AS_REAL, NULL},
    {"cost", AT(cost), AS_CHOICE, costs},
    {"write_bytes", AT(write_bytes), AS_INTEGER, NULL},
    {"overhead_bytes", AT(overhead_bytes), AS_INTEGER, NULL},
    {"budget", AT(budget), AS_CHOICE, budgets},
    {"dirty_tracking", AT(dirty_tracking), AS_CHOICE, dirty_trackings},
    {"cycles", AT(cycles), AS_INTEGER, NULL},
    {"rounds", AT(rounds), AS_INTEGER, NULL},
    {"writes_per_cycle", AT(writes_per_cycle), AS_INTEGER, NULL},
    {"budget_bytes", AT(budget_bytes), AS_INTEGER, NULL},
    {"threshold_bytes", AT(threshold_bytes), AS_INTEGER, NULL},
    {"first_row", AT(first_row), AS_INTEGER, NULL},
    {"cycle_end", AT(cycle_end), AS_ENDS, NULL},
};

#define OPTIONS ((Py_ssize_t)(sizeof options / sizeof options[0]))

/* Choices are written as int, whatever enumeration the field has. */
_Static_assert(sizeof(pc_schedule_t) == sizeof(int) && sizeof(pc_frequency_t) == sizeof(int) &&
                   sizeof(pc_budget_rule_t) == sizeof(int) && sizeof(pc_cost_t) == sizeof(int) &&
                   sizeof(pc_dirty_tracking_t) == sizeof(int),
               "enumerations are as large as int");

Py_ssize_t
pc_options_count(void)
{
    return OPTIONS;
}

static int
order_named(const char *name)
{
    for (int i = 0; i < pc_order_count; i++) {
        if (strcmp(pc_orders[i].name, name) == 0)
            return i;
    }
    return -1;
}

static bool
parse_choice(const option_t *option, PyObject *value, int *field)
{
    const char *name = PyUnicode_Check(value) ? PyUnicode_AsUTF8(value) : NULL;
    const name_t *known = option->names;
    *field = -1;
    if (name && !known)
        *field = order_named(name);
    for (; name && known && known->name; known++)
        *field = strcmp(known->name, name) == 0 ? known->value : *field;
    if (*field < 0 && !PyErr_Occurred())
        PyErr_Format(PyExc_ValueError, "%s: expected a known name, got %R", option->name, value);
    return *field >= 0;
}

/* One entry per cycle; how many there are is known when all options are: pc_options_ends_fit(). */
static bool
parse_ends(const option_t *option, PyObject *value, const int64_t **field)
{
    npy_intp length;
    *field = NULL;
    if (value != Py_None)
        *field = pc_array_data(value, NPY_INT64, option->name, &length);
    return !PyErr_Occurred();
}

static bool
parse_option(const option_t *option, PyObject *value, npy_intp files, char *field)
{
    switch (option->type) {
    case AS_CHOICE:
        return parse_choice(option, value, (int *)field);
    case AS_FLAG:
        *(bool *)field = PyObject_IsTrue(value) == 1;
        return !PyErr_Occurred();
    case AS_INTEGER:
        *(int64_t *)field = PyLong_AsLongLong(value);
        return !PyErr_Occurred();
    case AS_REAL:
        *(double *)field = PyFloat_AsDouble(value);
        return !PyErr_Occurred();
    case AS_COUNTS:
        return pc_array_optional(value, NPY_INT64, option->name, files, (const void **)field);
    case AS_REALS:
        return pc_array_optional(value, NPY_DOUBLE, option->name, files, (const void **)field);
    case AS_ENDS:
        return parse_ends(option, value, (const int64_t **)field);
    }
    return false;
}

static const option_t *
option_named(PyObject *name)
{
    for (Py_ssize_t i = 0; PyUnicode_Check(name) && i < OPTIONS; i++) {
        if (PyUnicode_CompareWithASCIIString(name, options[i].name) == 0)
            return &options[i];
    }
    PyErr_Format(PyExc_TypeError, "options: expected known names, got %R", name);
    return NULL;
}

bool
pc_options_parse(PyObject *dict, npy_intp files, pc_plan_t *plan)
{
    PyObject *name, *value;
    Py_ssize_t position = 0;
    while (PyDict_Next(dict, &position, &name, &value)) {
        const option_t *option = option_named(name);
        if (!option || !parse_option(option, value, files, (char *)plan + option->offset))
            return false;
    }
    return true;
}

bool
pc_options_ends_fit(PyObject *dict, const pc_plan_t *plan)
{
    PyObject *ends = PyDict_GetItemString(dict, "cycle_end");
    if (!plan->cycle_end || PyArray_SIZE((PyArrayObject *)ends) == plan->cycles)
        return true;
    PyErr_Format(PyExc_ValueError, "cycle_end: expected an entry per cycle, got %zd",
                 (Py_ssize_t)PyArray_SIZE((PyArrayObject *)ends));
    return false;
}

/* Put a new reference into a dict and give it up; false if it is NULL. */
static bool
put(PyObject *dict, const char *name, PyObject *value)
{
    bool done = value && PyDict_SetItemString(dict, name, value) == 0;
    Py_XDECREF(value);
    return done;
}

/* The names of a choice with their values. */
static PyObject *
dict_of(const name_t *names)
{
    PyObject *dict = PyDict_New();
    for (; dict && names->name; names++) {
        if (!put(dict, names->name, PyLong_FromLong(names->value)))
            Py_CLEAR(dict);
    }
    return dict;
}

/* The orders, with their values, whose key uses what `mask` says exactly as `uses` says. */
static PyObject *
orders_that(unsigned mask, unsigned uses)
{
    PyObject *dict = PyDict_New();
    for (int i = 0; dict && i < pc_order_count; i++) {
        if ((pc_orders[i].uses & mask) == uses && !put(dict, pc_orders[i].name, PyLong_FromLong(i)))
            Py_CLEAR(dict);
    }
    return dict;
}

int
pc_options_export(PyObject *module)
{
    PyObject *attributes = PyModule_GetDict(module), *choices = PyDict_New();
    bool done = choices != NULL;
    for (Py_ssize_t i = 0; done && i < OPTIONS; i++) {
        const option_t *option = &options[i];
        if (option->type == AS_CHOICE)
            done = put(choices, option->name,
                       option->names ? dict_of(option->names) : orders_that(PC_USES_OWN_KEY, 0));
    }
    done = done && PyDict_SetItemString(attributes, "CHOICES", choices) == 0 &&
           put(attributes, "STOPS", dict_of(stops)) &&
           put(attributes, "USES_SIZE", orders_that(PC_USES_SIZE, PC_USES_SIZE)) &&
           put(attributes, "USES_UPDATES", orders_that(PC_USES_UPDATES, PC_USES_UPDATES)) &&
           put(attributes, "HALF_LIFE_MIN", PyFloat_FromDouble(PC_HALF_LIFE_MIN));
    Py_XDECREF(choices);
    return done ? 0 : -1;
}
