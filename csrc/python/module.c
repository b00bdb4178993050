/*
 * module.c -- the C core as precopy._core; with arrays.c and options.c the only files that know
 * Python and NumPy.
 *
 * The package validates and explains; the binding checks again what protects memory (types, shapes,
 * alignment) and lets the core run without the GIL.  A run asks every few milliseconds whether a
 * signal has come in, so Ctrl-C ends it.
 */
#define PC_IMPORTS_NUMPY
#include "arrays.h"
#include "options.h"

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
    const double *share = pc_array_data(share_array, NPY_DOUBLE, "share", &count);
    pc_alias_t *alias = share ? pc_array_alias(alias_array, true, &capacity) : NULL;
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
    const pc_alias_t *alias = pc_array_alias(alias_array, false, &slots);
    bitgen_t *bitgen = alias ? pc_array_bitgen(bit_generator) : NULL;
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
    const int64_t *size_bytes = pc_array_data(size_array, NPY_INT64, "size_bytes", &count);
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
    const int64_t *trace = pc_array_data(trace_array, NPY_INT64, "trace", &length);
    const uint8_t *read_only =
        trace ? pc_array_data(read_only_array, NPY_BOOL, "read_only", &count) : NULL;
    if (!read_only)
        return NULL;
    const pc_files_t files = {.count = count, .read_only = read_only};
    return PyLong_FromLongLong(pc_trace_check(trace, length, &files));
}

PyDoc_STRVAR(rank_doc,
             "rank(size_bytes, read_only, pending, count, score, options)\n--\n\n"
             "The ids (int64[k]) of the pending files in rank order; see precopy.rank.  `pending`\n"
             "(bool[n]), `count` (int64[n]) and `score` (float64[n]) may be None.");

static PyObject *
rank(PyObject *module, PyObject *args)
{
    PyObject *sizes, *flags, *pending_array, *count_array, *score_array, *options;
    const void *pending, *counts, *score;
    pc_files_t files = {0};
    pc_plan_t plan = {0};
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOOOO!:rank", &sizes, &flags, &pending_array, &count_array,
                          &score_array, &PyDict_Type, &options) ||
        !pc_array_files(sizes, flags, &files) ||
        !pc_array_optional(pending_array, NPY_BOOL, "pending", files.count, &pending) ||
        !pc_array_optional(count_array, NPY_INT64, "count", files.count, &counts) ||
        !pc_array_optional(score_array, NPY_DOUBLE, "score", files.count, &score) ||
        !pc_options_parse(options, files.count, &plan))
        return NULL;
    const pc_updates_t updates = {.count = counts, .score = score};
    npy_intp room = files.count;
    PyObject *ranked = PyArray_SimpleNew(1, &room, NPY_INT64);
    if (!ranked)
        return NULL;
    int64_t *id = PyArray_DATA((PyArrayObject *)ranked), count;
    Py_BEGIN_ALLOW_THREADS
    count = pc_rank(&files, &plan.policy, &updates, pending, id);
    Py_END_ALLOW_THREADS
    PyObject *result =
        count < 0 ? raise_status((int)count) : PySequence_GetSlice(ranked, 0, (Py_ssize_t)count);
    Py_DECREF(ranked);
    return result;
}

PyDoc_STRVAR(take_doc, "take(cost_bytes, left_bytes, options)\n--\n\n"
                       "Take from costs (int64[k]) in rank order; see precopy.take.  Returns\n"
                       "(taken, left_bytes, carried_bytes).");

static PyObject *
take(PyObject *module, PyObject *args)
{
    PyObject *cost_array, *options;
    long long left;
    npy_intp count;
    pc_plan_t plan = {0};
    (void)module;
    if (!PyArg_ParseTuple(args, "OLO!:take", &cost_array, &left, &PyDict_Type, &options) ||
        !pc_options_parse(options, 0, &plan))
        return NULL;
    const int64_t *cost_bytes = pc_array_data(cost_array, NPY_INT64, "cost_bytes", &count);
    PyObject *taken = cost_bytes ? PyArray_SimpleNew(1, &count, NPY_BOOL) : NULL;
    if (!taken)
        return NULL;
    uint8_t *flags = PyArray_DATA((PyArrayObject *)taken);
    int64_t left_bytes = left, carried_bytes = 0;
    int status;
    Py_BEGIN_ALLOW_THREADS
    status = pc_take(cost_bytes, count, plan.budget, flags, &left_bytes, &carried_bytes);
    Py_END_ALLOW_THREADS
    if (status >= 0)
        return Py_BuildValue("NLL", taken, (long long)left_bytes, (long long)carried_bytes);
    Py_DECREF(taken);
    return raise_status(status);
}

/* The arguments of a run as Python gave them, and as the core wants them. */
typedef struct {
    PyObject *size_bytes, *read_only, *by_size, *trace, *alias, *bit_generator, *cancel, *options;
    pc_files_t files;
    pc_plan_t plan;
    pc_source_t source;
    const uint8_t *cancel_flag;
} arguments_t;

static bool
borrow_source(arguments_t *a)
{
    npy_intp length;
    if (a->trace != Py_None) {
        a->source.trace = pc_array_data(a->trace, NPY_INT64, "trace", &length);
        a->source.trace_count = length;
        return a->source.trace != NULL;
    }
    a->source.alias = pc_array_alias(a->alias, false, &length);
    a->source.alias_count = length;
    a->source.bitgen = a->source.alias ? pc_array_bitgen(a->bit_generator) : NULL;
    return a->source.bitgen != NULL;
}

static bool
parse_arguments(PyObject *args, PyObject *kwargs, arguments_t *a)
{
    static char *names[] = {"size_bytes",    "read_only", "by_size", "trace", "alias",
                            "bit_generator", "cancel",    "options", NULL};
    const void *by_size, *cancel;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "$OOOOOOOO!:simulate", names, &a->size_bytes,
                                     &a->read_only, &a->by_size, &a->trace, &a->alias,
                                     &a->bit_generator, &a->cancel, &PyDict_Type, &a->options) ||
        !pc_array_files(a->size_bytes, a->read_only, &a->files) ||
        !pc_array_optional(a->by_size, NPY_UINT32, "by_size", a->files.count, &by_size) ||
        !pc_array_optional(a->cancel, NPY_UINT8, "cancel", 1, &cancel) ||
        !pc_options_parse(a->options, a->files.count, &a->plan) || !borrow_source(a))
        return false;
    if (PyDict_Size(a->options) != pc_options_count()) {
        PyErr_Format(PyExc_TypeError, "options: expected all %zd, got %zd", pc_options_count(),
                     PyDict_Size(a->options));
        return false;
    }
    a->files.by_size = by_size;
    a->cancel_flag = cancel;
    return true;
}

PyDoc_STRVAR(simulate_doc,
             "simulate(*, size_bytes, read_only, by_size, trace, alias, bit_generator, cancel, "
             "options)\n--\n\n"
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
    if (!parse_arguments(args, kwargs, &a))
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
    {"rank", rank, METH_VARARGS, rank_doc},
    {"rank_by_size", rank_by_size, METH_O, rank_by_size_doc},
    {"take", take, METH_VARARGS, take_doc},
    {"trace_check", trace_check, METH_VARARGS, trace_check_doc},
    {"simulate", (PyCFunction)(void (*)(void))simulate, METH_VARARGS | METH_KEYWORDS, simulate_doc},
    {NULL, NULL, 0, NULL},
};

static int
module_exec(PyObject *module)
{
    if (PyArray_ImportNumPyAPI() < 0)
        return -1;
    if (pc_options_export(module) < 0)
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
    .m_doc =
        "The C core of precopy: ranking, taking, one simulation, and the sampler of its writes.",
};

PyMODINIT_FUNC
PyInit__core(void)
{
    return PyModuleDef_Init(&definition);
}
