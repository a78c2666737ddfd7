/* Faults of the machine for one process. Preloaded, it stands between the process and its disk and
 * clock, and does what a file of orders says, which may change at any moment.
 *
 *   FAULT_DIR     the directory whose files are watched (absolute, without a slash at the end)
 *   FAULT_ORDERS  a file of 8-byte little-endian numbers, in the order of `struct orders`
 *
 * Kept apart from tests/powercut/cut.c, which models what a disk may lose: here every call that
 * succeeds has really been done, and the process goes on.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define PATH_BYTES 4096

/* tests/crash/orders.rs has the same list. */
struct orders {
    /* Counted here: calls on watched files, and faults that were done. */
    uint64_t writes_seen, syncs_seen, names_seen, faults_done;
    /* From the n-th call on (1 = the first; 0 = never), so many calls fail, with this errno. */
    uint64_t write_at, write_count, write_errno;
    uint64_t sync_at, sync_count, sync_errno;
    /* Calls that make, rename or remove a name. */
    uint64_t name_at, name_count, name_errno;
    /* 1: a failing write writes half, and says so; the next one goes well. */
    uint64_t write_short;
    /* Milliseconds that each sync, each write takes. */
    uint64_t sync_delay_ms, write_delay_ms;
    /* Milliseconds that the wall clock is off; signed. */
    int64_t clock_off_ms;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static const char *fault_dir;
static volatile struct orders *orders;

static int (*real_open)(const char *, int, ...);
static int (*real_openat)(int, const char *, int, ...);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static int (*real_ftruncate)(int, off_t);
static int (*real_renameat)(int, const char *, int, const char *);
static int (*real_unlink)(const char *);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_clock_gettime)(clockid_t, struct timespec *);

static void begin(void)
{
    real_open = dlsym(RTLD_NEXT, "open64");
    real_openat = dlsym(RTLD_NEXT, "openat64");
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_writev = dlsym(RTLD_NEXT, "writev");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
    real_renameat = dlsym(RTLD_NEXT, "renameat");
    real_unlink = dlsym(RTLD_NEXT, "unlink");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    real_clock_gettime = dlsym(RTLD_NEXT, "clock_gettime");
    fault_dir = getenv("FAULT_DIR");
    const char *path = getenv("FAULT_ORDERS");
    int fd = path ? real_open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd >= 0) {
        void *memory = mmap(NULL, sizeof *orders, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        if (memory != MAP_FAILED)
            orders = memory;
        close(fd);
    }
}

static int below(const char *path)
{
    size_t n;
    if (!orders || !fault_dir)
        return 0;
    n = strlen(fault_dir);
    return strncmp(path, fault_dir, n) == 0 && (path[n] == '/' || path[n] == 0);
}

static int watched(int fd)
{
    char link[64], path[PATH_BYTES];
    int keep = errno;
    pthread_once(&once, begin);
    if (!orders || !fault_dir)
        return 0;
    strcpy(link, "/proc/self/fd/");
    char digits[16];
    int count = 0;
    unsigned rest = (unsigned)fd;
    do
        digits[count++] = (char)('0' + rest % 10);
    while ((rest /= 10) != 0);
    size_t at = strlen(link);
    while (count > 0)
        link[at++] = digits[--count];
    link[at] = 0;
    ssize_t n = fd < 0 ? -1 : readlink(link, path, sizeof path - 1);
    errno = keep;
    if (n <= 0)
        return 0;
    path[n] = 0;
    return below(path);
}

static void wait_ms(uint64_t ms)
{
    if (ms)
        usleep((useconds_t)(ms * 1000));
}

/* Whether the call that is counted now fails. */
static int fails(volatile uint64_t *seen, uint64_t at, uint64_t count)
{
    uint64_t now = __atomic_add_fetch(seen, 1, __ATOMIC_SEQ_CST);
    if (!at || now < at || now - at >= count)
        return 0;
    __atomic_add_fetch(&orders->faults_done, 1, __ATOMIC_SEQ_CST);
    return 1;
}

static int write_fails(void)
{
    return fails(&orders->writes_seen, orders->write_at, orders->write_count);
}

static int sync_fails(void)
{
    return fails(&orders->syncs_seen, orders->sync_at, orders->sync_count);
}

static int name_fails(void)
{
    return fails(&orders->names_seen, orders->name_at, orders->name_count);
}

static int give(uint64_t error)
{
    errno = (int)error;
    return -1;
}

/* --- writing --- */

ssize_t write(int fd, const void *data, size_t bytes)
{
    pthread_once(&once, begin);
    if (!watched(fd))
        return real_write(fd, data, bytes);
    wait_ms(orders->write_delay_ms);
    if (write_fails()) {
        if (!orders->write_short || bytes < 2)
            return give(orders->write_errno);
        bytes /= 2;
    }
    return real_write(fd, data, bytes);
}

#define PWRITE(name)                                                                               \
    ssize_t name(int fd, const void *data, size_t bytes, off_t offset)                             \
    {                                                                                              \
        pthread_once(&once, begin);                                                                \
        if (!watched(fd))                                                                          \
            return real_pwrite(fd, data, bytes, offset);                                           \
        wait_ms(orders->write_delay_ms);                                                           \
        if (write_fails()) {                                                                       \
            if (!orders->write_short || bytes < 2)                                                 \
                return give(orders->write_errno);                                                  \
            bytes /= 2;                                                                            \
        }                                                                                          \
        return real_pwrite(fd, data, bytes, offset);                                               \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    pthread_once(&once, begin);
    if (watched(fd) && write_fails())
        return give(orders->write_errno);
    return real_writev(fd, parts, count);
}

#define FTRUNCATE(name)                                                                            \
    int name(int fd, off_t size)                                                                   \
    {                                                                                              \
        pthread_once(&once, begin);                                                                \
        if (watched(fd) && write_fails())                                                          \
            return give(orders->write_errno);                                                      \
        return real_ftruncate(fd, size);                                                           \
    }
FTRUNCATE(ftruncate)
FTRUNCATE(ftruncate64)

/* --- syncing --- */

static int sync_with(int fd, int (*real)(int))
{
    if (!watched(fd))
        return real(fd);
    wait_ms(orders->sync_delay_ms);
    return sync_fails() ? give(orders->sync_errno) : real(fd);
}

int fsync(int fd)
{
    pthread_once(&once, begin);
    return sync_with(fd, real_fsync);
}

int fdatasync(int fd)
{
    pthread_once(&once, begin);
    return sync_with(fd, real_fdatasync);
}

/* --- names; every path of the vault's is absolute --- */

#define MODE(flags)                                                                                \
    mode_t mode = 0;                                                                               \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                                                         \
        va_list list;                                                                              \
        va_start(list, flags);                                                                     \
        mode = (mode_t)va_arg(list, int);                                                          \
        va_end(list);                                                                              \
    }

#define OPEN(name)                                                                                 \
    int name(const char *path, int flags, ...)                                                     \
    {                                                                                              \
        MODE(flags)                                                                                \
        pthread_once(&once, begin);                                                                \
        if ((flags & O_CREAT) && below(path) && name_fails())                                      \
            return give(orders->name_errno);                                                       \
        return real_open(path, flags, mode);                                                       \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                               \
    int name(int at, const char *path, int flags, ...)                                             \
    {                                                                                              \
        MODE(flags)                                                                                \
        pthread_once(&once, begin);                                                                \
        if ((flags & O_CREAT) && below(path) && name_fails())                                      \
            return give(orders->name_errno);                                                       \
        return real_openat(at, path, flags, mode);                                                 \
    }
OPENAT(openat)
OPENAT(openat64)

/* payvault has a `rename` of its own, which calls this. */
int renameat(int from_at, const char *from, int to_at, const char *to)
{
    pthread_once(&once, begin);
    if (below(to) && name_fails())
        return give(orders->name_errno);
    return real_renameat(from_at, from, to_at, to);
}

int unlink(const char *path)
{
    pthread_once(&once, begin);
    if (below(path) && name_fails())
        return give(orders->name_errno);
    return real_unlink(path);
}

/* --- the clock --- */

int clock_gettime(clockid_t clock, struct timespec *time)
{
    pthread_once(&once, begin);
    int result = real_clock_gettime(clock, time);
    if (result == 0 && clock == CLOCK_REALTIME && orders && orders->clock_off_ms) {
        int64_t off = orders->clock_off_ms;
        int64_t nanos = time->tv_nsec + off % 1000 * 1000000;
        time->tv_sec += off / 1000;
        if (nanos < 0) {
            nanos += 1000000000;
            time->tv_sec--;
        } else if (nanos >= 1000000000) {
            nanos -= 1000000000;
            time->tv_sec++;
        }
        time->tv_nsec = nanos;
    }
    return result;
}
