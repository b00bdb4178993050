/*
 * module.c -- the C core as precopy._core: the only file that knows Python and NumPy.
 *
 * The package validates and explains; this file checks again what protects memory (types, shapes,
 * alignment) and lets the core run without the GIL.  A run asks every few milliseconds whether a
 * signal has come in, so Ctrl-C ends it.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#include <numpy/arrayobject.h>

#include "precopy.h"

typedef struct {
    const char *name;
    long value;
} name_t;

typedef struct {
    const char *attribute;
    const name_t *names;
} table_t;

/* The names that users give to the core's options; the package checks against these tables. */
static const name_t schedules[] = {
    {"cycles", PC_SCHEDULE_CYCLES}, {"rounds", PC_SCHEDULE_ROUNDS}, {NULL, 0}};
static const name_t orders[] = {{"size-ascending", PC_ORDER_SIZE_ASCENDING},
                                {"size-descending", PC_ORDER_SIZE_DESCENDING},
                                {"update-frequency", PC_ORDER_UPDATE_FREQUENCY},
                                {"expected-update", PC_ORDER_EXPECTED_UPDATE},
                                {NULL, 0}};
static const name_t frequencies[] = {{"count", PC_FREQUENCY_COUNT},
                                     {"last-cycle", PC_FREQUENCY_LAST_CYCLE},
                                     {"exponential", PC_FREQUENCY_EXPONENTIAL},
                                     {NULL, 0}};
static const name_t budget_rules[] = {
    {"whole", PC_BUDGET_WHOLE}, {"carry", PC_BUDGET_CARRY}, {"skip", PC_BUDGET_SKIP}, {NULL, 0}};
static const name_t dirty_trackings[] = {
    {"round-start", PC_DIRTY_ROUND_START}, {"sent", PC_DIRTY_SENT}, {NULL, 0}};
static const name_t stops[] = {{"cycles", PC_STOP_CYCLES},
                               {"threshold", PC_STOP_THRESHOLD},
                               {"rounds", PC_STOP_ROUNDS},
                               {"clean", PC_STOP_CLEAN},
                               {NULL, 0}};
static const table_t tables[] = {{"SCHEDULES", schedules},
                                 {"ORDERS", orders},
                                 {"FREQUENCIES", frequencies},
                                 {"BUDGET_RULES", budget_rules},
                                 {"DIRTY_TRACKINGS", dirty_trackings},
                                 {"STOPS", stops},
                                 {NULL, NULL}};

/* The data of a one-dimensional native C array of the given type, or NULL with an exception set. */
static void *
array_data(PyObject *object, int type, const char *name, npy_intp *count)
{
    PyArrayObject *array = (PyArrayObject *)object;
    if (!PyArray_Check(object) || PyArray_TYPE(array) != type || PyArray_NDIM(array) != 1 ||
        !PyArray_ISCARRAY_RO(array)) {
        PyArray_Descr *expected = PyArray_DescrFromType(type);
        PyErr_Format(PyExc_TypeError, "%s: expected a contiguous one-dimensional array of %S", name,
                     (PyObject *)expected);
        Py_XDECREF(expected);
        return NULL;
    }
    *count = PyArray_SIZE(array);
    return PyArray_DATA(array);
}

/* The same for an argument that may be None; a length other than `count` is an error. */
static bool
optional_data(PyObject *object, int type, const char *name, npy_intp count, const void **data)
{
    npy_intp length;
    *data = NULL;
    if (object == Py_None)
        return true;
    *data = array_data(object, type, name, &length);
    if (*data && length != count)
        PyErr_Format(PyExc_ValueError, "%s: expected %zd entries, got %zd", name, (Py_ssize_t)count,
                     (Py_ssize_t)length);
    return *data && length == count;
}

/* Alias tables travel as arrays of 16-byte records, two uint64 columns for all NumPy knows. */
static pc_alias_t *
alias_data(PyObject *object, bool writable, npy_intp *count)
{
    PyArrayObject *array = (PyArrayObject *)object;
    if (!PyArray_Check(object) || PyArray_TYPE(array) != NPY_UINT64 || PyArray_NDIM(array) != 2 ||
        PyArray_DIM(array, 1) != 2 ||
        !(writable ? PyArray_ISCARRAY(array) : PyArray_ISCARRAY_RO(array))) {
        PyErr_SetString(PyExc_TypeError,
                        "alias: expected a contiguous uint64 array of shape (k, 2)");
        return NULL;
    }
    *count = PyArray_DIM(array, 0);
    return PyArray_DATA(array);
}

static bitgen_t *
bitgen_of(PyObject *bit_generator)
{
    PyObject *capsule = PyObject_GetAttrString(bit_generator, "capsule");
    bitgen_t *bitgen = capsule ? PyCapsule_GetPointer(capsule, "BitGenerator") : NULL;
    Py_XDECREF(capsule); /* the generator keeps it */
    return bitgen;
}

static PyObject *
raise_status(int status)
{
    if (PyErr_Occurred())
        return NULL;
    if (status == PC_ERROR_MEMORY)
        return PyErr_NoMemory();
    if (status == PC_ERROR_INTERRUPTED) {
        PyErr_SetNone(PyExc_KeyboardInterrupt);
        return NULL;
    }
    PyErr_SetString(PyExc_ValueError, pc_status_message(status));
    return NULL;
}

typedef struct {
    PyThreadState *thread;
    const volatile uint8_t *cancel; /* [1] set by another thread to end the run, or NULL */
} poll_t;

/* Only the main thread sees signals; runs in other threads end by their `cancel` flag. */
static int
poll_signals(void *context)
{
    poll_t *poll = context;
    if (poll->cancel && *poll->cancel)
        return 1;
    PyEval_RestoreThread(poll->thread);
    int signalled = PyErr_CheckSignals();
    poll->thread = PyEval_SaveThread();
    return signalled;
}

PyDoc_STRVAR(
    alias_build_doc,
    "alias_build(share, alias)\n--\n\n"
    "Fill `alias` (uint64[len(share), 2]) for the files with a positive share (float64[n]);\n"
    "return the number of slots in use.");

static PyObject *
alias_build(PyObject *module, PyObject *args)
{
    PyObject *share_array, *alias_array;
    npy_intp count, capacity;
    (void)module;
    if (!PyArg_ParseTuple(args, "OO:alias_build", &share_array, &alias_array))
        return NULL;
    const double *share = array_data(share_array, NPY_DOUBLE, "share", &count);
    pc_alias_t *alias = share ? alias_data(alias_array, true, &capacity) : NULL;
    if (!alias)
        return NULL;
    if (capacity < count) {
        PyErr_SetString(PyExc_ValueError, "alias: shorter than share");
        return NULL;
    }
    int64_t slots;
    Py_BEGIN_ALLOW_THREADS
    slots = pc_alias_build(share, count, alias);
    Py_END_ALLOW_THREADS
    return slots < 0 ? raise_status((int)slots) : PyLong_FromLongLong(slots);
}

PyDoc_STRVAR(
    alias_draw_doc,
    "alias_draw(alias, bit_generator, count)\n--\n\n"
    "Draw `count` file ids (int64) with one 64-bit draw each.  The caller holds the lock.");

static PyObject *
alias_draw(PyObject *module, PyObject *args)
{
    PyObject *alias_array, *bit_generator;
    npy_intp slots;
    Py_ssize_t length;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOn:alias_draw", &alias_array, &bit_generator, &length))
        return NULL;
    const pc_alias_t *alias = alias_data(alias_array, false, &slots);
    bitgen_t *bitgen = alias ? bitgen_of(bit_generator) : NULL;
    if (!bitgen)
        return NULL;
    if (length < 0 || (slots < 1 && length > 0)) {
        PyErr_SetString(PyExc_ValueError, "count: negative, or nothing to draw from");
        return NULL;
    }
    npy_intp count = length;
    PyObject *drawn = PyArray_SimpleNew(1, &count, NPY_INT64);
    if (!drawn)
        return NULL;
    int64_t *file_id = PyArray_DATA((PyArrayObject *)drawn);
    Py_BEGIN_ALLOW_THREADS
    pc_alias_draw(alias, slots, bitgen, count, file_id);
    Py_END_ALLOW_THREADS
    return drawn;
}

PyDoc_STRVAR(rank_by_size_doc, "rank_by_size(size_bytes)\n--\n\n"
                               "The ids (uint32[n]) of files by size (int64[n]), then by id.");

static PyObject *
rank_by_size(PyObject *module, PyObject *size_array)
{
    npy_intp count;
    (void)module;
    const int64_t *size_bytes = array_data(size_array, NPY_INT64, "size_bytes", &count);
    if (!size_bytes)
        return NULL;
    if (count > PC_FILES_MAX)
        return raise_status(PC_ERROR_ARGUMENT);
    PyObject *ranked = PyArray_SimpleNew(1, &count, NPY_UINT32);
    if (!ranked)
        return NULL;
    uint32_t *id_at = PyArray_DATA((PyArrayObject *)ranked);
    int status;
    Py_BEGIN_ALLOW_THREADS
    status = pc_rank_by_size(size_bytes, count, id_at);
    Py_END_ALLOW_THREADS
    if (status >= 0)
        return ranked;
    Py_DECREF(ranked);
    return raise_status(status);
}

PyDoc_STRVAR(trace_check_doc,
             "trace_check(trace, read_only)\n--\n\n"
             "The index of the first entry (int64[m]) that is no read-write file, or -1.");

static PyObject *
trace_check(PyObject *module, PyObject *args)
{
    PyObject *trace_array, *read_only_array;
    npy_intp length, count;
    (void)module;
    if (!PyArg_ParseTuple(args, "OO:trace_check", &trace_array, &read_only_array))
        return NULL;
    const int64_t *trace = array_data(trace_array, NPY_INT64, "trace", &length);
    const uint8_t *read_only =
        trace ? array_data(read_only_array, NPY_BOOL, "read_only", &count) : NULL;
    if (!read_only)
        return NULL;
    const pc_files_t files = {.count = count, .read_only = read_only};
    return PyLong_FromLongLong(pc_trace_check(trace, length, &files));
}

/* The arrays of a run as Python gave them, and as the core wants them. */
typedef struct {
    PyObject *size_bytes, *read_only, *by_size, *key, *history, *trace, *alias, *bit_generator,
        *cancel;
    pc_files_t files;
    pc_plan_t plan;
    pc_source_t source;
    const uint8_t *cancel_flag;
} arguments_t;

static bool
parse_arguments(PyObject *args, PyObject *kwargs, arguments_t *a)
{
    static char *names[] = {"size_bytes",
                            "read_only",
                            "by_size",
                            "schedule",
                            "order",
                            "key",
                            "read_only_first",
                            "frequency",
                            "half_life",
                            "history",
                            "budget_rule",
                            "dirty_tracking",
                            "cycles",
                            "rounds",
                            "writes_per_cycle",
                            "budget_bytes",
                            "threshold_bytes",
                            "trace",
                            "alias",
                            "bit_generator",
                            "cancel",
                            NULL};
    int schedule, order, read_only_first, frequency, budget_rule, dirty_tracking;
    long long cycles, rounds, writes, budget, threshold;
    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "$OOOiiOpidOiiLLLLLOOOO:simulate", names, &a->size_bytes, &a->read_only,
            &a->by_size, &schedule, &order, &a->key, &read_only_first, &frequency,
            &a->plan.half_life_cycles, &a->history, &budget_rule, &dirty_tracking, &cycles, &rounds,
            &writes, &budget, &threshold, &a->trace, &a->alias, &a->bit_generator, &a->cancel))
        return false;
    a->plan.schedule = (pc_schedule_t)schedule;
    a->plan.order = (pc_order_t)order;
    a->plan.read_only_first = read_only_first;
    a->plan.frequency = (pc_frequency_t)frequency;
    a->plan.budget_rule = (pc_budget_rule_t)budget_rule;
    a->plan.dirty_tracking = (pc_dirty_tracking_t)dirty_tracking;
    a->plan.cycles = cycles;
    a->plan.rounds = rounds;
    a->plan.writes_per_cycle = writes;
    a->plan.budget_bytes = budget;
    a->plan.threshold_bytes = threshold;
    return true;
}

static bool
borrow_arrays(arguments_t *a)
{
    npy_intp count, length;
    const void *by_size, *key, *history, *cancel;
    a->files.size_bytes = array_data(a->size_bytes, NPY_INT64, "size_bytes", &count);
    if (!a->files.size_bytes)
        return false;
    a->files.count = count;
    a->files.read_only = array_data(a->read_only, NPY_BOOL, "read_only", &length);
    if (!a->files.read_only)
        return false;
    if (length != count) {
        PyErr_SetString(PyExc_ValueError, "read_only: of another length than size_bytes");
        return false;
    }
    if (!optional_data(a->by_size, NPY_UINT32, "by_size", count, &by_size) ||
        !optional_data(a->key, NPY_DOUBLE, "key", count, &key) ||
        !optional_data(a->history, NPY_INT64, "history", count, &history) ||
        !optional_data(a->cancel, NPY_UINT8, "cancel", 1, &cancel))
        return false;
    a->files.by_size = by_size;
    a->cancel_flag = cancel;
    a->plan.key = key;
    a->plan.history = history;
    if (a->trace != Py_None) {
        a->source.trace = array_data(a->trace, NPY_INT64, "trace", &length);
        a->source.trace_count = length;
        return a->source.trace != NULL;
    }
    a->source.alias = alias_data(a->alias, false, &length);
    a->source.alias_count = length;
    a->source.bitgen = a->source.alias ? bitgen_of(a->bit_generator) : NULL;
    return a->source.bitgen != NULL;
}

PyDoc_STRVAR(simulate_doc,
             "simulate(*, size_bytes, read_only, ...)\n--\n\n"
             "Run one simulation; see precopy.simulate.  Returns (status, cycles run, final copy,\n"
             "precopy, resent, rounds completed), arrays of int64[cycles]; a negative status (see\n"
             "ERROR_TRACE) means that the writes do not fit the files.");

static PyObject *
simulate(PyObject *module, PyObject *args, PyObject *kwargs)
{
    arguments_t a = {0};
    poll_t poll = {0};
    pc_record_t record = {0};
    PyObject *array[4] = {0}, *result = NULL;
    int status;
    (void)module;
    if (!parse_arguments(args, kwargs, &a) || !borrow_arrays(&a))
        return NULL;
    npy_intp cycles = a.plan.cycles > 0 ? (npy_intp)a.plan.cycles : 0;
    for (int i = 0; i < 4; i++) {
        npy_intp length = i == 3 && a.plan.schedule != PC_SCHEDULE_ROUNDS ? 0 : cycles;
        array[i] = PyArray_SimpleNew(1, &length, NPY_INT64);
        if (!array[i])
            goto out;
    }
    record.final_copy_bytes = PyArray_DATA((PyArrayObject *)array[0]);
    record.precopy_bytes = PyArray_DATA((PyArrayObject *)array[1]);
    record.resent_bytes = PyArray_DATA((PyArrayObject *)array[2]);
    record.rounds_completed = PyArray_DATA((PyArrayObject *)array[3]);
    poll.cancel = a.cancel_flag;
    a.plan.poll = poll_signals;
    a.plan.poll_context = &poll;
    poll.thread = PyEval_SaveThread();
    status = pc_simulate(&a.files, &a.plan, &a.source, &record);
    PyEval_RestoreThread(poll.thread);
    if (status < 0 && status != PC_ERROR_TRACE)
        raise_status(status);
    else
        result = Py_BuildValue("iLOOOO", status, (long long)record.cycles_run, array[0], array[1],
                               array[2], array[3]);
out:
    for (int i = 0; i < 4; i++)
        Py_XDECREF(array[i]);
    return result;
}

static PyMethodDef methods[] = {
    {"alias_build", alias_build, METH_VARARGS, alias_build_doc},
    {"alias_draw", alias_draw, METH_VARARGS, alias_draw_doc},
    {"rank_by_size", rank_by_size, METH_O, rank_by_size_doc},
    {"trace_check", trace_check, METH_VARARGS, trace_check_doc},
    {"simulate", (PyCFunction)(void (*)(void))simulate, METH_VARARGS | METH_KEYWORDS, simulate_doc},
    {NULL, NULL, 0, NULL},
};

static PyObject *
dict_of(const name_t *names)
{
    PyObject *dict = PyDict_New();
    for (; dict && names->name; names++) {
        PyObject *value = PyLong_FromLong(names->value);
        if (!value || PyDict_SetItemString(dict, names->name, value) < 0)
            Py_CLEAR(dict);
        Py_XDECREF(value);
    }
    return dict;
}

static int
module_exec(PyObject *module)
{
    if (PyArray_ImportNumPyAPI() < 0)
        return -1;
    for (const table_t *table = tables; table->attribute; table++) {
        PyObject *dict = dict_of(table->names);
        int failed = !dict || PyModule_AddObjectRef(module, table->attribute, dict) < 0;
        Py_XDECREF(dict);
        if (failed)
            return -1;
    }
    PyObject *half_life_min = PyFloat_FromDouble(PC_HALF_LIFE_MIN);
    int failed =
        !half_life_min || PyModule_AddObjectRef(module, "HALF_LIFE_MIN", half_life_min) < 0;
    Py_XDECREF(half_life_min);
    if (failed || PyModule_AddIntConstant(module, "ORDER_KEY", PC_ORDER_KEY) < 0)
        return -1;
    return PyModule_AddIntConstant(module, "ERROR_TRACE", PC_ERROR_TRACE);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, module_exec},
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED}, /* as NumPy */
#endif
#ifdef Py_mod_gil
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "precopy._core",
    .m_methods = methods,
    .m_slots = slots,
    .m_doc = "The C core of precopy: one simulation, and the sampler of its writes.",
};

PyMODINIT_FUNC
PyInit__core(void)
{
    return PyModuleDef_Init(&definition);
}
