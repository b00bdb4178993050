/*
 * module.c -- the C core as precopy._core; the files of this directory are the only ones that know
 * Python and NumPy.
 *
 * The package validates and explains; the binding checks again what protects memory (types, shapes,
 * alignment) and lets the core run without the GIL.
 */
#define PC_IMPORTS_NUMPY
#include "arrays.h"
#include "options.h"
#include "runs.h"

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
    return slots < 0 ? pc_raise_status((int)slots) : PyLong_FromLongLong(slots);
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
        return pc_raise_status(PC_ERROR_ARGUMENT);
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
    return pc_raise_status(status);
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

/* What the functions on recordings have in common: (size_bytes, read_only, recording, ...). */
static bool
borrow_recording(PyObject *const *args, pc_files_t *files, pc_recording_t *recording)
{
    return pc_array_files(args[0], args[1], files) &&
           pc_array_recording(args[2], files->count, recording);
}

PyDoc_STRVAR(recording_check_doc,
             "recording_check(size_bytes, read_only, recording)\n--\n\n"
             "The index of the first row of a recording (present, rows, back) that does not fit\n"
             "the files, or -1.");

static PyObject *
recording_check(PyObject *module, PyObject *args)
{
    PyObject *given[3];
    pc_files_t files = {0};
    pc_recording_t recording;
    int64_t wrong;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOO:recording_check", &given[0], &given[1], &given[2]) ||
        !borrow_recording(given, &files, &recording))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    wrong = pc_rows_check(&recording.rows, &files);
    Py_END_ALLOW_THREADS
    return PyLong_FromLongLong(wrong);
}

PyDoc_STRVAR(recording_sizes_doc,
             "recording_sizes(size_bytes, read_only, recording, row)\n--\n\n"
             "The sizes (int64[n]) of files before a row of a recording (present, rows, back), -1\n"
             "where none exists.");

static PyObject *
recording_sizes(PyObject *module, PyObject *args)
{
    PyObject *given[3];
    long long row;
    pc_files_t files = {0};
    pc_recording_t recording;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOL:recording_sizes", &given[0], &given[1], &given[2], &row) ||
        !borrow_recording(given, &files, &recording))
        return NULL;
    npy_intp count = files.count;
    PyObject *found = PyArray_SimpleNew(1, &count, NPY_INT64);
    if (!found)
        return NULL;
    int64_t *size_bytes = PyArray_DATA((PyArrayObject *)found);
    int status;
    Py_BEGIN_ALLOW_THREADS
    status = pc_recording_sizes(&recording, &files, row, size_bytes);
    Py_END_ALLOW_THREADS
    if (status >= 0)
        return found;
    Py_DECREF(found);
    return pc_raise_status(status);
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
        count < 0 ? pc_raise_status((int)count) : PySequence_GetSlice(ranked, 0, (Py_ssize_t)count);
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
    return pc_raise_status(status);
}

static PyMethodDef methods[] = {
    {"alias_build", alias_build, METH_VARARGS, alias_build_doc},
    {"alias_draw", alias_draw, METH_VARARGS, alias_draw_doc},
    {"rank", rank, METH_VARARGS, rank_doc},
    {"rank_by_size", rank_by_size, METH_O, rank_by_size_doc},
    {"recording_check", recording_check, METH_VARARGS, recording_check_doc},
    {"recording_sizes", recording_sizes, METH_VARARGS, recording_sizes_doc},
    {"take", take, METH_VARARGS, take_doc},
    {"trace_check", trace_check, METH_VARARGS, trace_check_doc},
    {"simulate", (PyCFunction)(void (*)(void))pc_runs_simulate, METH_VARARGS | METH_KEYWORDS,
     pc_runs_doc},
    {NULL, NULL, 0, NULL},
};

static int
module_exec(PyObject *module)
{
    if (PyArray_ImportNumPyAPI() < 0)
        return -1;
    return pc_options_export(module);
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
