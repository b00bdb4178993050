/*
 * module.c -- precopy.migration.source._source: the only file here that knows Python.
 *
 * Arguments are bytes and whatever has a contiguous buffer, results are bytes; the package makes
 * arrays of them.  Everything that touches the file system runs without the interpreter's lock.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <string.h>

#include "blake2b.h"
#include "source.h"

static PyObject *
raise_error(int error, PyObject *path)
{
    if (error == -ENOMEM)
        return PyErr_NoMemory();
    errno = -error;
    return PyErr_SetFromErrnoWithFilenameObject(PyExc_OSError, path);
}

static PyObject *
bytes_of(const void *data, int64_t count, size_t unit)
{
    return PyBytes_FromStringAndSize(data, (Py_ssize_t)((size_t)count * unit));
}

/* A buffer of whole items, or nothing at all if `object` is None. */
static bool
borrow(PyObject *object, const char *name, size_t unit, Py_buffer *view)
{
    memset(view, 0, sizeof *view);
    if (object == Py_None)
        return true;
    if (PyObject_GetBuffer(object, view, PyBUF_C_CONTIGUOUS) != 0)
        return false;
    if (view->len % (Py_ssize_t)unit == 0)
        return true;
    PyErr_Format(PyExc_ValueError, "%s: got %zd bytes, expected a multiple of %zu", name, view->len,
                 unit);
    PyBuffer_Release(view);
    return false;
}

PyDoc_STRVAR(digests_doc,
             "digests(data, block_bytes)\n--\n\n"
             "The 16-byte BLAKE2b digests of the blocks of `data`, one after another; the last\n"
             "block may be short, and no data are one empty block.");

static PyObject *
digests(PyObject *module, PyObject *args)
{
    Py_buffer data;
    Py_ssize_t block_bytes;
    (void)module;
    if (!PyArg_ParseTuple(args, "y*n:digests", &data, &block_bytes))
        return NULL;
    if (block_bytes < 1) {
        PyBuffer_Release(&data);
        return PyErr_Format(PyExc_ValueError, "block_bytes: got %zd, expected at least 1",
                            block_bytes);
    }
    Py_ssize_t whole = data.len / block_bytes, rest = data.len % block_bytes;
    Py_ssize_t count = whole + (rest > 0 || data.len == 0);
    PyObject *result = PyBytes_FromStringAndSize(NULL, count * PCS_DIGEST_BYTES);
    if (result) {
        uint8_t *digest = (uint8_t *)PyBytes_AS_STRING(result);
        Py_BEGIN_ALLOW_THREADS
        pcs_blake2b_blocks(data.buf, (size_t)block_bytes, (size_t)whole, digest);
        if (count > whole)
            pcs_blake2b((const uint8_t *)data.buf + whole * block_bytes, (size_t)rest,
                        digest + whole * PCS_DIGEST_BYTES);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&data);
    return result;
}

/* Where the names of a tuple are; None becomes NULL. */
static const char **
names_of(PyObject *tuple)
{
    Py_ssize_t count = PyTuple_GET_SIZE(tuple);
    const char **name = PyMem_Calloc((size_t)count + 1, sizeof *name);
    if (!name)
        return (const char **)PyErr_NoMemory();
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *item = PyTuple_GET_ITEM(tuple, i);
        if (PyBytes_Check(item)) {
            name[i] = PyBytes_AS_STRING(item);
        } else if (item != Py_None) {
            PyErr_Format(PyExc_TypeError, "names: got %R, expected bytes or None", item);
            PyMem_Free(name);
            return NULL;
        }
    }
    return name;
}

PyDoc_STRVAR(
    statuses_doc,
    "statuses(names, known, older_ns, under_way_ns, write_rate)\n--\n\n"
    "Take the status of each name (bytes; None is passed over) and return those that differ\n"
    "from `known` or are young, as records of an int64 index and the status.");

static PyObject *
statuses(PyObject *module, PyObject *args)
{
    PyObject *names, *known_object, *young_object, *result = NULL;
    Py_buffer known, young;
    long long under_way_ns, write_rate;
    (void)module;
    if (!PyArg_ParseTuple(args, "O!OOLL:statuses", &PyList_Type, &names, &known_object,
                          &young_object, &under_way_ns, &write_rate) ||
        !borrow(known_object, "known", sizeof(pcs_status_t), &known))
        return NULL;
    if (!borrow(young_object, "older_ns", sizeof(int64_t), &young)) {
        PyBuffer_Release(&known);
        return NULL;
    }
    /* A copy keeps the names where they are, whatever another thread does with the list. */
    PyObject *held = PyList_AsTuple(names);
    Py_ssize_t count = held ? PyTuple_GET_SIZE(held) : 0;
    pcs_moved_list_t moved = {0};
    const char **name = NULL;
    if (held && (known.len != count * (Py_ssize_t)sizeof(pcs_status_t) ||
                 (young.buf && young.len != count * (Py_ssize_t)sizeof(int64_t))))
        PyErr_Format(PyExc_ValueError, "known, older_ns: expected %zd entries as in names", count);
    else if (held)
        name = names_of(held);
    if (name) {
        int error;
        pcs_young_t times = {young.buf, under_way_ns, write_rate};
        Py_BEGIN_ALLOW_THREADS
        error = pcs_statuses(name, count, known.buf, &times, &moved);
        Py_END_ALLOW_THREADS
        result = error ? raise_error(error, NULL)
                       : bytes_of(moved.entry, moved.count, sizeof *moved.entry);
    }
    PyMem_Free(name);
    Py_XDECREF(held);
    pcs_moved_free(&moved);
    PyBuffer_Release(&young);
    PyBuffer_Release(&known);
    return result;
}

static PyObject *
found_as_tuple(const pcs_found_t *found)
{
    return Py_BuildValue("LLNNNNL", (long long)found->size, (long long)found->read_bytes,
                         bytes_of(found->index, found->count, sizeof(int64_t)),
                         bytes_of(found->digest, found->count, PCS_DIGEST_BYTES),
                         bytes_of(found->zero, found->count, 1),
                         bytes_of(found->data, found->data_bytes, 1), (long long)found->data_count);
}

static int64_t NOWHERE[1][2]; /* no range at all, which is not the whole file */

static bool
check_look(const pcs_look_t *look)
{
    if (look->block_bytes < 1 || look->block_bytes > PCS_BLOCK_BYTES_MAX) {
        PyErr_Format(PyExc_ValueError, "block_bytes: got %lld, expected 1 to %d",
                     (long long)look->block_bytes, PCS_BLOCK_BYTES_MAX);
        return false;
    }
    for (int64_t i = 0; i < look->range_count; i++)
        if (look->range[i][0] < 0 || look->range[i][1] < look->range[i][0] ||
            (i && look->range[i][0] < look->range[i - 1][1])) {
            PyErr_SetString(PyExc_ValueError,
                            "ranges: expected pairs of begin and end, ascending, apart");
            return false;
        }
    return true;
}

PyDoc_STRVAR(
    look_doc,
    "look(path, dev, ino, block_bytes, known, ranges, clean, lazy, data_limit)\n--\n\n"
    "Return (size, bytes read, index, digests, zero, data, blocks whose data there are) of\n"
    "the blocks of a file that differ from `known`.");

static PyObject *
look(PyObject *module, PyObject *args)
{
    PyObject *path, *known_object, *ranges_object, *result = NULL;
    Py_buffer known, ranges;
    unsigned long long dev, ino;
    long long block_bytes, data_limit;
    int clean, lazy;
    (void)module;
    if (!PyArg_ParseTuple(args, "SKKLOOppL:look", &path, &dev, &ino, &block_bytes, &known_object,
                          &ranges_object, &clean, &lazy, &data_limit) ||
        !borrow(known_object, "known", PCS_DIGEST_BYTES, &known))
        return NULL;
    if (!borrow(ranges_object, "ranges", 2 * sizeof(int64_t), &ranges)) {
        PyBuffer_Release(&known);
        return NULL;
    }
    pcs_look_t what = {
        .path = PyBytes_AS_STRING(path),
        .dev = dev,
        .ino = ino,
        .block_bytes = block_bytes,
        .known = known.buf,
        .known_count = known.len / PCS_DIGEST_BYTES,
        .range_count = ranges.len / (Py_ssize_t)(2 * sizeof(int64_t)),
        .clean = clean,
        .lazy = lazy,
        .data_limit = data_limit,
    };
    if (ranges_object != Py_None)
        what.range = ranges.len ? ranges.buf : NOWHERE;
    if (check_look(&what)) {
        pcs_found_t found;
        int error;
        Py_INCREF(path);
        Py_BEGIN_ALLOW_THREADS
        error = pcs_look(&what, &found);
        Py_END_ALLOW_THREADS
        result = error ? raise_error(error, path) : found_as_tuple(&found);
        pcs_found_free(&found);
        Py_DECREF(path);
    }
    PyBuffer_Release(&ranges);
    PyBuffer_Release(&known);
    return result;
}

static PyMethodDef methods[] = {
    {"digests", digests, METH_VARARGS, digests_doc},
    {"look", look, METH_VARARGS, look_doc},
    {"statuses", statuses, METH_VARARGS, statuses_doc},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot slots[] = {
#ifdef Py_mod_multiple_interpreters
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "precopy.migration.source._source",
    .m_methods = methods,
    .m_slots = slots,
    .m_doc = "What the migration asks the source's file system, in C and without the lock.",
};

PyMODINIT_FUNC
PyInit__source(void)
{
    return PyModuleDef_Init(&definition);
}
