/* A power cut for one process. Preloaded, it watches the calls that change files beneath CUT_DIR,
 * remembers what is not synced yet, and at the chosen write makes the files look as a disk may look
 * after the power went, then kills the process with SIGKILL.
 *
 *   CUT_DIR     the directory whose files are watched (absolute, without a slash at the end)
 *   CUT_GRAVE   an existing directory on the same file system, outside CUT_DIR
 *   CUT_AT      cut at this write (1 = the first); absent: never
 *   CUT_SEED    decides what of the unsynced is lost
 *   CUT_SYNC_OFF        when set, fsync and fdatasync of a file make nothing durable
 *   CUT_ORDER           the name of a directory: a change of a file in it, while something that was
 *                       renamed in it isn't durable, ends the process loudly, since who writes there
 *                       relies on the name
 *   CUT_FAIL_SYNC_AT    this sync of a file fails with EIO, and a part of what it should have
 *                       synced is lost at once
 *   CUT_FAIL_WRITE_AT   this pwrite or write ends half done, and the next try fails with ENOSPC
 *
 * The model of the disk:
 * - Written data is durable once fsync or fdatasync of its file returned. Until then each 512-byte
 *   sector may hold any of its states since the last sync: writes may be lost in any order, and
 *   torn, by sectors or by pages. Page caches are cumulative: if a later write to a sector is kept,
 *   so are earlier ones.
 * - A file's new size is durable by the same calls; until then it may be kept or lost. Data that is
 *   lost while the size is kept reads as zeros.
 * - Names (creation, rename, removal) become durable by fsync of the directory that they lie in; of
 *   those that aren't, a tail is lost. fsync of a file or of another directory makes no name
 *   durable, which is harsher than most file systems.
 * - sync_file_range makes nothing durable; it is not watched at all.
 *
 * Real syncs are left out: the process dies, the machine doesn't. What could change a watched file
 * unseen (writev and its like) ends the process loudly. mmap is not watched.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define SECTOR 512
#define PAGE 4096
#define PATH_BYTES 4096

/* One unsynced change of a file's content: what was there before. */
struct change {
    off_t offset;
    size_t bytes;
    unsigned char *old;
    int shrink; /* the file was cut off at `offset` */
    struct change *earlier;
};

struct file {
    dev_t device;
    ino_t inode;
    char *directory;
    int own_fd; /* to put old bytes back with, whatever the file is called by then */
    off_t durable_size;
    struct change *latest;
    struct file *next;
};

/* One name that isn't durable yet. */
struct name {
    enum { CREATED, MADE_DIRECTORY, RENAMED, REMOVED, REMOVED_DIRECTORY } what;
    char *path;
    char *from;  /* RENAMED */
    char *grave; /* what the path named before, if anything */
    struct name *earlier;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct file *files;
static struct name *names;
static const char *cut_dir, *cut_grave, *sync_off, *order;
static uint64_t random_state, cut_at, fail_sync_at, fail_write_at;
static uint64_t changes_seen, syncs_seen, writes_seen, graves;

static int (*real_open)(const char *, int, ...);
static int (*real_openat)(int, const char *, int, ...);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_pwritev)(int, const struct iovec *, int, off_t);
static int (*real_ftruncate)(int, off_t);
static int (*real_renameat)(int, const char *, int, const char *);
static int (*real_unlinkat)(int, const char *, int);
static int (*real_mkdir)(const char *, mode_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);

static uint64_t number(const char *variable)
{
    const char *text = getenv(variable);
    return text ? strtoull(text, NULL, 10) : 0;
}

static void begin(void)
{
    real_open = dlsym(RTLD_NEXT, "open64");
    real_openat = dlsym(RTLD_NEXT, "openat64");
    real_write = dlsym(RTLD_NEXT, "write");
    real_pwrite = dlsym(RTLD_NEXT, "pwrite64");
    real_writev = dlsym(RTLD_NEXT, "writev");
    real_pwritev = dlsym(RTLD_NEXT, "pwritev64");
    real_ftruncate = dlsym(RTLD_NEXT, "ftruncate64");
    real_renameat = dlsym(RTLD_NEXT, "renameat");
    real_unlinkat = dlsym(RTLD_NEXT, "unlinkat");
    real_mkdir = dlsym(RTLD_NEXT, "mkdir");
    real_fsync = dlsym(RTLD_NEXT, "fsync");
    real_fdatasync = dlsym(RTLD_NEXT, "fdatasync");
    cut_dir = getenv("CUT_DIR");
    cut_grave = getenv("CUT_GRAVE");
    sync_off = getenv("CUT_SYNC_OFF");
    order = getenv("CUT_ORDER");
    cut_at = number("CUT_AT");
    fail_sync_at = number("CUT_FAIL_SYNC_AT");
    fail_write_at = number("CUT_FAIL_WRITE_AT");
    random_state = number("CUT_SEED") * 0x9e3779b97f4a7c15u + 0x1234567;
}

static void enter(void)
{
    pthread_once(&once, begin);
    pthread_mutex_lock(&lock);
}

static void leave(void)
{
    int keep = errno;
    pthread_mutex_unlock(&lock);
    errno = keep;
}

static void give_up(const char *why)
{
    fprintf(stderr, "cut: %s\n", why);
    abort();
}

static void *room(size_t bytes)
{
    void *memory = calloc(1, bytes ? bytes : 1);
    if (!memory)
        give_up("no memory");
    return memory;
}

/* splitmix64 */
static uint64_t chance(uint64_t below)
{
    uint64_t z = (random_state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (z ^ (z >> 31)) % below;
}

/* --- which files are watched --- */

/* The absolute path that a call means; 0 when it lies outside CUT_DIR. */
static int watched_path(int at, const char *path, char *out)
{
    if (!cut_dir)
        return 0;
    if (path[0] == '/') {
        snprintf(out, PATH_BYTES, "%s", path);
    } else {
        char link[64], base[PATH_BYTES / 2];
        ssize_t n;
        if (at == AT_FDCWD) {
            if (!getcwd(base, sizeof base))
                return 0;
        } else {
            snprintf(link, sizeof link, "/proc/self/fd/%d", at);
            n = readlink(link, base, sizeof base - 1);
            if (n < 0)
                return 0;
            base[n] = 0;
        }
        snprintf(out, PATH_BYTES, "%s/%s", base, path);
    }
    size_t n = strlen(cut_dir);
    return strncmp(out, cut_dir, n) == 0 && (out[n] == '/' || out[n] == 0);
}

static struct file *watched_file(int fd)
{
    struct stat st;
    if (!files || fstat(fd, &st) != 0)
        return NULL;
    for (struct file *f = files; f; f = f->next)
        if (f->device == st.st_dev && f->inode == st.st_ino)
            return f;
    return NULL;
}

static void forget(struct file *f)
{
    while (f->latest) {
        struct change *c = f->latest;
        f->latest = c->earlier;
        free(c->old);
        free(c);
    }
}

static void watch(int fd, const char *path)
{
    struct stat st;
    if (watched_file(fd) || fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        return;
    struct file *f = room(sizeof *f);
    f->device = st.st_dev;
    f->inode = st.st_ino;
    f->durable_size = st.st_size;
    f->directory = strdup(path);
    *strrchr(f->directory, '/') = 0;
    /* Kept open for good, so the inode's number is not given to another file meanwhile. */
    f->own_fd = real_open(path, O_RDWR | O_CLOEXEC);
    if (f->own_fd < 0)
        give_up("a watched file can't be opened a second time");
    f->next = files;
    files = f;
}

static off_t size_of(struct file *f)
{
    struct stat st;
    if (fstat(f->own_fd, &st) != 0)
        give_up("fstat");
    return st.st_size;
}

/* --- what isn't durable --- */

static void remember(struct file *f, off_t offset, size_t bytes, int shrink)
{
    struct change *c = room(sizeof *c);
    c->offset = offset;
    c->bytes = bytes;
    c->shrink = shrink;
    c->old = room(bytes); /* zeros past the end, as a hole reads */
    size_t done = 0;
    while (done < bytes) {
        ssize_t n = pread(f->own_fd, c->old + done, bytes - done, offset + (off_t)done);
        if (n <= 0)
            break;
        done += (size_t)n;
    }
    c->earlier = f->latest;
    f->latest = c;
}

static void remember_name(int what, const char *path, const char *from, char *grave)
{
    struct name *n = room(sizeof *n);
    n->what = what;
    n->path = strdup(path);
    n->from = from ? strdup(from) : NULL;
    n->grave = grave;
    n->earlier = names;
    names = n;
}

/* Whether `name` lies in `directory`. */
static int lies_in(const char *name, const char *directory)
{
    size_t n = strlen(directory);
    return strncmp(name, directory, n) == 0 && name[n] == '/' && !strchr(name + n + 1, '/');
}

/* The names that lie in `directory` are durable now. */
static void settle_names(const char *directory)
{
    struct name **at = &names;
    while (*at) {
        struct name *name = *at;
        if (lies_in(name->path, directory))
            *at = name->earlier; /* the few bytes don't matter */
        else
            at = &name->earlier;
    }
}

/* A file is about to be changed. */
static void in_order(struct file *f)
{
    if (!order || strcmp(strrchr(f->directory, '/') + 1, order) != 0)
        return;
    for (struct name *n = names; n; n = n->earlier)
        if (n->what == RENAMED && lies_in(n->path, f->directory))
            give_up("a file is changed before what was renamed beside it is durable");
}

/* Keeps what `path` names alive outside, so that its name can come back. */
static char *bury(const char *path)
{
    char grave[PATH_BYTES];
    struct stat st;
    if (lstat(path, &st) != 0 || S_ISDIR(st.st_mode))
        return NULL;
    snprintf(grave, sizeof grave, "%s/%d-%llu", cut_grave, (int)getpid(),
             (unsigned long long)graves++);
    if (link(path, grave) != 0)
        give_up("a removed file can't be kept");
    return strdup(grave);
}

static void put_back(struct file *f, off_t offset, const unsigned char *old, size_t bytes, off_t end)
{
    if (offset >= end)
        return;
    if (offset + (off_t)bytes > end)
        bytes = (size_t)(end - offset);
    if (real_pwrite(f->own_fd, old, bytes, offset) != (ssize_t)bytes)
        give_up("old bytes can't be put back");
}

/* Loses a part of what isn't synced of one file. */
static void lose(struct file *f)
{
    off_t size = size_of(f), end = size;
    if (size != f->durable_size && chance(2)) {
        if (real_ftruncate(f->own_fd, f->durable_size) != 0)
            give_up("ftruncate");
        end = f->durable_size;
    }
    off_t extent = size;
    int count = 0;
    for (struct change *c = f->latest; c; c = c->earlier, count++)
        if (c->offset + (off_t)c->bytes > extent)
            extent = c->offset + (off_t)c->bytes;
    unsigned char *kept = room((size_t)(extent / SECTOR + 1));
    /* All kept, all lost, a tail lost, each change for itself, or each page for itself: most systems
     * write whole pages, and a file that is written over from its beginning may keep any of them. */
    int manner = (int)chance(5);
    unsigned char *page_lost = room((size_t)(extent / PAGE + 1));
    for (off_t page = 0; page <= extent / PAGE; page++)
        page_lost[page] = (unsigned char)chance(2);
    int tail = count ? (int)chance((uint64_t)count + 1) : 0, index = 0;
    for (struct change *c = f->latest; c; c = c->earlier, index++) {
        if (c->shrink) {
            if (end > c->offset && end == f->durable_size && end != size)
                put_back(f, c->offset, c->old, c->bytes, end);
            continue;
        }
        int fate = manner == 0   ? 0
                   : manner == 1 ? 1
                   : manner == 2 ? index < tail
                   : manner == 3 ? (int)chance(3)
                                 : 3;
        size_t done = 0;
        while (done < c->bytes) {
            off_t at = c->offset + (off_t)done;
            size_t piece = SECTOR - (size_t)(at % SECTOR);
            if (piece > c->bytes - done)
                piece = c->bytes - done;
            int lost = fate == 2 ? (int)chance(2) : fate == 3 ? page_lost[at / PAGE] : fate;
            if (!kept[at / SECTOR]) {
                if (lost)
                    put_back(f, at, c->old + done, piece, end);
                else
                    kept[at / SECTOR] = 1;
            }
            done += piece;
        }
    }
    free(kept);
    free(page_lost);
}

static void lose_names(void)
{
    uint64_t count = 0, lost;
    for (struct name *n = names; n; n = n->earlier)
        count++;
    switch (chance(3)) {
    case 0: lost = 0; break;
    case 1: lost = count; break;
    default: lost = chance(count + 1);
    }
    for (struct name *n = names; n && lost; n = n->earlier, lost--) {
        switch (n->what) {
        case CREATED: real_unlinkat(AT_FDCWD, n->path, 0); break;
        case MADE_DIRECTORY: real_unlinkat(AT_FDCWD, n->path, AT_REMOVEDIR); break;
        case RENAMED: real_renameat(AT_FDCWD, n->path, AT_FDCWD, n->from); break;
        case REMOVED_DIRECTORY: real_mkdir(n->path, 0700); break;
        case REMOVED: break;
        }
        if (n->grave && link(n->grave, n->path) != 0)
            give_up("a removed file can't be brought back");
    }
}

/* Counts a change that just happened, and cuts when it is the one. */
static void changed(void)
{
    if (!cut_at || ++changes_seen != cut_at)
        return;
    for (struct file *f = files; f; f = f->next)
        lose(f);
    lose_names();
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

/* --- the calls --- */

static int open_watched(int at, const char *path, int flags, mode_t mode)
{
    char full[PATH_BYTES];
    struct stat st;
    if (!watched_path(at, path, full) || (flags & O_DIRECTORY) || (flags & O_PATH))
        return real_openat(at, path, flags, mode);
    int existed = lstat(full, &st) == 0;
    int fd = real_openat(at, path, flags & ~O_TRUNC, mode);
    if (fd < 0)
        return fd;
    int writes = (flags & O_ACCMODE) != O_RDONLY;
    if (!existed) {
        remember_name(CREATED, full, NULL, NULL);
        watch(fd, full);
        struct file *f = watched_file(fd);
        if (f)
            f->durable_size = 0;
        changed();
    } else if (writes || watched_file(fd)) {
        watch(fd, full);
    }
    struct file *f = watched_file(fd);
    if (f && writes && (flags & O_TRUNC)) {
        off_t size = size_of(f);
        if (size > 0) {
            remember(f, 0, (size_t)size, 1);
            if (real_ftruncate(fd, 0) != 0)
                give_up("ftruncate");
            changed();
        }
    }
    return fd;
}

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
        enter();                                                                                   \
        int fd = open_watched(AT_FDCWD, path, flags, mode);                                        \
        leave();                                                                                   \
        return fd;                                                                                 \
    }
#define OPENAT(name)                                                                               \
    int name(int at, const char *path, int flags, ...)                                             \
    {                                                                                              \
        MODE(flags)                                                                                \
        enter();                                                                                   \
        int fd = open_watched(at, path, flags, mode);                                              \
        leave();                                                                                   \
        return fd;                                                                                 \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

static ssize_t write_watched(int fd, const void *data, size_t bytes, off_t offset, int positioned)
{
    struct file *f = watched_file(fd);
    if (!f)
        return positioned ? real_pwrite(fd, data, bytes, offset) : real_write(fd, data, bytes);
    if (!positioned)
        offset = (fcntl(fd, F_GETFL) & O_APPEND) ? size_of(f) : lseek(fd, 0, SEEK_CUR);
    in_order(f);
    writes_seen++;
    if (fail_write_at && writes_seen == fail_write_at + 1) {
        errno = ENOSPC;
        return -1;
    }
    if (fail_write_at && writes_seen == fail_write_at && bytes > 1)
        bytes /= 2;
    remember(f, offset, bytes, 0);
    ssize_t n = positioned ? real_pwrite(fd, data, bytes, offset) : real_write(fd, data, bytes);
    f->latest->bytes = n > 0 ? (size_t)n : 0;
    changed();
    return n;
}

ssize_t write(int fd, const void *data, size_t bytes)
{
    enter();
    ssize_t n = write_watched(fd, data, bytes, 0, 0);
    leave();
    return n;
}

#define PWRITE(name)                                                                               \
    ssize_t name(int fd, const void *data, size_t bytes, off_t offset)                             \
    {                                                                                              \
        enter();                                                                                   \
        ssize_t n = write_watched(fd, data, bytes, offset, 1);                                     \
        leave();                                                                                   \
        return n;                                                                                  \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    enter();
    if (watched_file(fd))
        give_up("writev to a watched file is not modelled");
    leave();
    return real_writev(fd, parts, count);
}

#define PWRITEV(name)                                                                              \
    ssize_t name(int fd, const struct iovec *parts, int count, off_t offset)                       \
    {                                                                                              \
        enter();                                                                                   \
        if (watched_file(fd))                                                                      \
            give_up("pwritev to a watched file is not modelled");                                  \
        leave();                                                                                   \
        return real_pwritev(fd, parts, count, offset);                                             \
    }
PWRITEV(pwritev)
PWRITEV(pwritev64)

#define FTRUNCATE(name)                                                                            \
    int name(int fd, off_t size)                                                                   \
    {                                                                                              \
        enter();                                                                                   \
        struct file *f = watched_file(fd);                                                         \
        off_t before = f ? size_of(f) : 0;                                                         \
        if (f)                                                                                     \
            in_order(f);                                                                           \
        if (f && size < before)                                                                    \
            remember(f, size, (size_t)(before - size), 1);                                         \
        int result = real_ftruncate(fd, size);                                                     \
        if (f && size != before)                                                                   \
            changed();                                                                             \
        leave();                                                                                   \
        return result;                                                                             \
    }
FTRUNCATE(ftruncate)
FTRUNCATE(ftruncate64)

/* payvault has a `rename` of its own, which calls this. */
int renameat(int from_at, const char *from, int to_at, const char *to)
{
    char a[PATH_BYTES], b[PATH_BYTES];
    enter();
    int watched = watched_path(from_at, from, a) && watched_path(to_at, to, b);
    char *grave = watched ? bury(b) : NULL;
    int result = real_renameat(from_at, from, to_at, to);
    if (watched && result == 0) {
        remember_name(RENAMED, b, a, grave);
        changed();
    }
    leave();
    return result;
}

static int remove_watched(int at, const char *path, int flags)
{
    char full[PATH_BYTES];
    int watched = watched_path(at, path, full);
    char *grave = watched && !(flags & AT_REMOVEDIR) ? bury(full) : NULL;
    int result = real_unlinkat(at, path, flags);
    if (watched && result == 0) {
        remember_name(flags & AT_REMOVEDIR ? REMOVED_DIRECTORY : REMOVED, full, NULL, grave);
        changed();
    }
    return result;
}

int unlinkat(int at, const char *path, int flags)
{
    enter();
    int result = remove_watched(at, path, flags);
    leave();
    return result;
}

int unlink(const char *path)
{
    enter();
    int result = remove_watched(AT_FDCWD, path, 0);
    leave();
    return result;
}

int rmdir(const char *path)
{
    enter();
    int result = remove_watched(AT_FDCWD, path, AT_REMOVEDIR);
    leave();
    return result;
}

int mkdir(const char *path, mode_t mode)
{
    char full[PATH_BYTES];
    enter();
    int result = real_mkdir(path, mode);
    if (result == 0 && watched_path(AT_FDCWD, path, full)) {
        remember_name(MADE_DIRECTORY, full, NULL, NULL);
        changed();
    }
    leave();
    return result;
}

static int sync_watched(int fd, int (*real)(int))
{
    struct stat st;
    char link[64], path[PATH_BYTES], full[PATH_BYTES];
    struct file *f = watched_file(fd);
    if (f && sync_off)
        return 0;
    if (f) {
        int fails = fail_sync_at && ++syncs_seen == fail_sync_at;
        if (fails)
            lose(f);
        /* After a failed sync nothing is tried again: what is on the disk is on the disk. */
        forget(f);
        f->durable_size = size_of(f);
        if (fails)
            errno = EIO;
        return fails ? -1 : 0;
    }
    if (cut_dir && fstat(fd, &st) == 0 && S_ISDIR(st.st_mode)) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t n = readlink(link, path, sizeof path - 1);
        if (n > 0) {
            path[n] = 0;
            if (watched_path(AT_FDCWD, path, full)) {
                settle_names(full);
                return 0;
            }
        }
    }
    return real(fd);
}

int fsync(int fd)
{
    enter();
    int result = sync_watched(fd, real_fsync);
    leave();
    return result;
}

int fdatasync(int fd)
{
    enter();
    int result = sync_watched(fd, real_fdatasync);
    leave();
    return result;
}
