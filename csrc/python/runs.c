/*
 * runs.c -- simulations of the core as one function of the module.
 *
 * Runs ask every few milliseconds whether a signal has come in, so Ctrl-C ends them.
 */
#include "options.h"
#include "runs.h"

PyObject *
pc_raise_status(int status)
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

/* The arguments of some runs as Python gave them, and as the core wants them. */
typedef struct {
    PyObject *size_bytes, *read_only, *by_size, *trace, *alias, *bit_generator, *cancel, *options;
    PyObject *trace_bytes, *phases, *recording;
    pc_recording_t recorded;
    pc_files_t files;
    pc_source_t source;
    pc_phase_t *phase; /* [source.phase_count] */
    const uint8_t *cancel_flag;
    Py_ssize_t count;
    pc_plan_t *plan; /* [count] */
    pc_record_t *record;
    PyObject *curves; /* a tuple of arrays */
} arguments_t;

/* The phases of a workload: (first write, alias, share) each. */
static bool
borrow_phases(arguments_t *a)
{
    Py_ssize_t count = PyTuple_GET_SIZE(a->phases);
    a->phase = PyMem_Calloc((size_t)count + 1, sizeof *a->phase);
    if (!a->phase) {
        PyErr_NoMemory();
        return false;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *alias, *share;
        long long first;
        const void *shares;
        npy_intp slots;
        if (!PyArg_ParseTuple(PyTuple_GET_ITEM(a->phases, i), "LOO:phases", &first, &alias, &share))
            return false;
        const pc_alias_t *table = pc_array_alias(alias, false, &slots);
        if (!table || !pc_array_optional(share, NPY_DOUBLE, "share", a->files.count, &shares))
            return false;
        a->phase[i] = (pc_phase_t){first, table, slots, shares};
    }
    a->source.phase = a->phase;
    a->source.phase_count = count;
    return true;
}

static bool
borrow_source(arguments_t *a)
{
    npy_intp length;
    if (a->recording != Py_None) {
        a->source.recording = &a->recorded;
        return pc_array_recording(a->recording, a->files.count, &a->recorded);
    }
    if (a->trace != Py_None) {
        const void *bytes = NULL;
        a->source.trace = pc_array_data(a->trace, NPY_INT64, "trace", &length);
        a->source.trace_count = length;
        bool sound = a->source.trace &&
                     pc_array_optional(a->trace_bytes, NPY_INT64, "trace_bytes", length, &bytes);
        a->source.trace_bytes = bytes;
        return sound;
    }
    a->source.alias = pc_array_alias(a->alias, false, &length);
    a->source.alias_count = length;
    a->source.bitgen = a->source.alias ? pc_array_bitgen(a->bit_generator) : NULL;
    return a->source.bitgen && borrow_phases(a);
}

static bool
parse_arguments(PyObject *args, PyObject *kwargs, arguments_t *a)
{
    static char *names[] = {"size_bytes",  "read_only",     "by_size",   "trace",
                            "alias",       "bit_generator", "cancel",    "options",
                            "trace_bytes", "phases",        "recording", NULL};
    const void *by_size, *cancel;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "$OOOOOOOO!OO!O:simulate", names, &a->size_bytes,
                                     &a->read_only, &a->by_size, &a->trace, &a->alias,
                                     &a->bit_generator, &a->cancel, &PyTuple_Type, &a->options,
                                     &a->trace_bytes, &PyTuple_Type, &a->phases, &a->recording) ||
        !pc_array_files(a->size_bytes, a->read_only, &a->files) ||
        !pc_array_optional(a->by_size, NPY_UINT32, "by_size", a->files.count, &by_size) ||
        !pc_array_optional(a->cancel, NPY_UINT8, "cancel", 1, &cancel) || !borrow_source(a))
        return false;
    a->files.by_size = by_size;
    a->cancel_flag = cancel;
    a->count = PyTuple_GET_SIZE(a->options);
    return true;
}

/* One run's options, and an array of curves for its record. */
static bool
parse_run(arguments_t *a, Py_ssize_t i)
{
    PyObject *options = PyTuple_GET_ITEM(a->options, i);
    pc_plan_t *plan = &a->plan[i];
    if (!PyDict_Check(options) || PyDict_Size(options) != pc_options_count()) {
        PyErr_Format(PyExc_TypeError, "options: expected dicts of all %zd, got %R",
                     pc_options_count(), options);
        return false;
    }
    if (!pc_options_parse(options, a->files.count, plan) || !pc_options_ends_fit(options, plan))
        return false;
    bool fourth = plan->schedule == PC_SCHEDULE_ROUNDS || a->source.recording;
    npy_intp shape[2] = {fourth ? 4 : 3, plan->cycles > 0 ? (npy_intp)plan->cycles : 0};
    PyObject *curves = PyArray_SimpleNew(2, shape, NPY_INT64);
    if (!curves)
        return false;
    PyTuple_SET_ITEM(a->curves, i, curves);
    int64_t *curve = PyArray_DATA((PyArrayObject *)curves);
    a->record[i].final_copy_bytes = curve;
    a->record[i].precopy_bytes = curve + shape[1];
    a->record[i].resent_bytes = curve + 2 * shape[1];
    a->record[i].rounds_completed = curve + (shape[0] - 1) * shape[1];
    a->record[i].present_bytes = a->record[i].rounds_completed;
    return true;
}

static bool
parse_runs(arguments_t *a)
{
    a->plan = PyMem_Calloc((size_t)a->count, sizeof *a->plan);
    a->record = PyMem_Calloc((size_t)a->count, sizeof *a->record);
    a->curves = PyTuple_New(a->count);
    if (!a->plan || !a->record || !a->curves) {
        PyErr_NoMemory();
        return false;
    }
    for (Py_ssize_t i = 0; i < a->count; i++) {
        if (!parse_run(a, i))
            return false;
    }
    return true;
}

static PyObject *
list_runs(const arguments_t *a)
{
    PyObject *list = PyList_New(a->count);
    for (Py_ssize_t i = 0; list && i < a->count; i++) {
        PyObject *run =
            Py_BuildValue("iLO", (int)a->record[i].stop, (long long)a->record[i].cycles_run,
                          PyTuple_GET_ITEM(a->curves, i));
        if (run)
            PyList_SET_ITEM(list, i, run);
        else
            Py_CLEAR(list);
    }
    return list;
}

const char pc_runs_doc[] = PyDoc_STR(
    "simulate(*, size_bytes, read_only, by_size, trace, alias, bit_generator, cancel, "
    "options, trace_bytes, phases, recording)\n--\n\n"
    "Simulate runs on the same writes, one for each dict of `options`, a tuple; see\n"
    "precopy.simulate.  Returns a list of (stop, cycles run, curves): int64[3, cycles], final\n"
    "copy, precopy, resent, and a fourth row of rounds completed if there are rounds, of bytes\n"
    "present if there is a recording (present, rows, back).  None instead of the list means that\n"
    "the trace or the recording does not fit the files.");

PyObject *
pc_runs_simulate(PyObject *module, PyObject *args, PyObject *kwargs)
{
    arguments_t a = {0};
    PyObject *result = NULL;
    (void)module;
    if (parse_arguments(args, kwargs, &a) && parse_runs(&a)) {
        poll_t poll = {.cancel = a.cancel_flag};
        const pc_poll_t asked = {poll_signals, &poll};
        poll.thread = PyEval_SaveThread();
        int status = pc_simulate(&a.files, &a.source, a.plan, a.record, a.count, &asked);
        PyEval_RestoreThread(poll.thread);
        if (status == PC_ERROR_TRACE)
            result = Py_NewRef(Py_None);
        else
            result = status < 0 ? pc_raise_status(status) : list_runs(&a);
    }
    Py_XDECREF(a.curves);
    PyMem_Free(a.phase);
    PyMem_Free(a.record);
    PyMem_Free(a.plan);
    return result;
}
