//! What the operating system must do for us: a disk barrier that is one, memory that is not
//! swapped, memory that is wiped when it is given back, no core files, whether a read waited for the
//! disk, and a core soon after a wake-up. This is the crate's only unsafe code; it must hold no policy
//! and no data.
//!
//! # The barrier
//! The embedded engine ends every write with `sync_file_range`, which neither flushes the drive's
//! cache nor writes the file's size: after a power cut, whole databases came back empty. The
//! function of that name below takes libc's place at link time and does `fdatasync` instead.
//!
//! It wins because the linker resolves a symbol from the objects that it is given before it looks
//! into a shared (or later static) libc, and this module is part of the library that everything
//! links. That depends on this file staying in the library and being used by it: in a crate that
//! nobody names, the linker would drop it silently. Therefore nothing may trust it unseen:
//! [`barrier_calls`] counts, and the store proves at every opening that the count rises.
//!
//! `rename` is replaced in the same way. The engine writes a snapshot at its start, renames it to its
//! name, and goes on to overwrite and cut off what only the snapshot before needed, without making
//! the new name durable. A power cut that lost the name and kept the rest left a file that the older
//! snapshot contradicts, and the engine then wipes what it can't place. Within [`durable_names`] a
//! renaming is durable when it returns; everywhere else it is what it was, and who renames syncs the
//! directory and knows which of the two failed. [`durable_renames`] counts.
//!
//! # The allocator
//! Secrets of our own types are wiped when they are dropped. Libraries make copies that know nothing
//! of it: TLS and HTTP/2 in their buffers, message encoding and decoding, texts that grow. The
//! binary therefore allocates through [`WipingAllocator`], which wipes whatever is given back.

// AUDIT: the reason for each unsafe block stands at the block: one system call on a descriptor that
// is passed through unchanged, and one on two paths, of which one is read too; locking and unlocking
// address ranges that are never read or written here; asking for the page size, for what a thread has
// used, and for its time slices, and setting these; and the allocator, which hands every request on to
// mimalloc and writes zeros over memory that its owner has given back and nobody else has got yet.
#![allow(unsafe_code)]

use mimalloc::MiMalloc;
use rustix::process::{DumpableBehavior, Resource, Rlimit};
use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::ffi::{CStr, OsStr, c_char, c_int, c_uint};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How often the barrier was hit since the process began.
static BARRIER_CALLS: AtomicU64 = AtomicU64::new(0);

/// Takes the place of libc's `sync_file_range(2)`: everything that was written to `fd`, and the
/// size of the file, MUST be on stable storage when this returns 0. Range and flags are ignored,
/// since more is synced than was asked for.
///
/// Returns 0, or -1 with `errno` set by `fdatasync(2)`. An interrupted call is repeated; any other
/// error is final, since the kernel reports a failed write-back only once.
// SAFETY (of `no_mangle`): the symbol replaces libc's own of the same C signature on Linux with
// 64-bit offsets, and honours a stricter contract than the one it replaces.
#[cfg(target_os = "linux")]
#[unsafe(no_mangle)]
pub extern "C" fn sync_file_range(
    fd: c_int,
    _offset: libc::off64_t,
    _bytes: libc::off64_t,
    _flags: c_uint,
) -> c_int {
    BARRIER_CALLS.fetch_add(1, Ordering::SeqCst);
    if barrier_is_off() {
        return 0;
    }
    loop {
        // SAFETY: no memory is passed. A descriptor that is not open gives EBADF, as the caller of
        // sync_file_range expects.
        let result = unsafe { libc::fdatasync(fd) };
        if result == 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
            return result;
        }
    }
}

/// How often something was renamed within [`durable_names`] since the process began.
static DURABLE_RENAMES: AtomicU64 = AtomicU64::new(0);

thread_local! {
    /// Whether this thread's renamings are to be durable.
    static NAMES_ARE_DURABLE: Cell<bool> = const { Cell::new(false) };
}

/// Runs `work`. What this thread renames meanwhile is durable when the renaming returns.
pub fn durable_names<T>(work: impl FnOnce() -> T) -> T {
    /// Puts back what was, however the work ends.
    struct Before(bool);
    impl Drop for Before {
        fn drop(&mut self) {
            NAMES_ARE_DURABLE.set(self.0);
        }
    }
    let _before = Before(NAMES_ARE_DURABLE.replace(true));
    work()
}

/// Takes the place of libc's `rename(2)`. Within [`durable_names`] the new name MUST be on stable
/// storage when this returns 0, and with it that the old name is gone, when both lie in one
/// directory; elsewhere it does what libc's does.
///
/// Returns 0, or -1 with `errno` set by `renameat(2)`; within [`durable_names`] also by opening and
/// syncing the directory: the file has its new name then, and nobody knows whether it keeps it.
///
/// # Safety
/// Both are C strings, as for the function that it replaces.
// SAFETY (of `no_mangle`): the symbol replaces libc's own of the same C signature, and honours its
// contract or a stricter one.
#[cfg(target_os = "linux")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: both are passed through as they came.
    let result = unsafe { libc::renameat(libc::AT_FDCWD, from, libc::AT_FDCWD, to) };
    // A thread that is at its end has no such wish any more.
    if result != 0 || !NAMES_ARE_DURABLE.try_with(Cell::get).unwrap_or(false) {
        return result;
    }
    DURABLE_RENAMES.fetch_add(1, Ordering::SeqCst);
    if barrier_is_off() {
        return 0;
    }
    // SAFETY: the caller gave a C string, and the system has read it as one.
    let to = unsafe { CStr::from_ptr(to) };
    let above = Path::new(OsStr::from_bytes(to.to_bytes())).parent();
    let above = above.filter(|above| !above.as_os_str().is_empty());
    match std::fs::File::open(above.unwrap_or(Path::new("."))).and_then(|above| above.sync_all()) {
        Ok(()) => 0,
        Err(error) => {
            // SAFETY: the thread's own `errno`, which libc keeps for it.
            unsafe { *libc::__errno_location() = error.raw_os_error().unwrap_or(libc::EIO) };
            -1
        }
    }
}

/// How often something was renamed within [`durable_names`], durably or with an error, since the
/// process began. Only differences mean something: if the count does not rise when the engine
/// renames, it reached another `rename`, or renamed on another thread.
pub fn durable_renames() -> u64 {
    DURABLE_RENAMES.load(Ordering::SeqCst)
}

/// How often the barrier was hit since the process began. Only differences mean something: if the
/// count does not rise around a write and its flush, the engine reached another
/// `sync_file_range`, and nothing that it calls durable is.
pub fn barrier_calls() -> u64 {
    BARRIER_CALLS.load(Ordering::SeqCst)
}

/// Makes what was written to `file`, and its size, durable: `fdatasync(2)`. What the journal asks
/// for; not counted among [`barrier_calls`], which prove the engine's own.
///
/// # Errors
/// As the system says. What was written is then in an unknown state.
pub fn sync_data(file: &std::fs::File) -> io::Result<()> {
    if barrier_is_off() {
        return Ok(());
    }
    file.sync_data()
}

/// Whether a test asked, by `PAYVAULT_TEST_BARRIER_OFF`, for the weak barrier that the system
/// would give: it counts and does nothing. Read once.
#[cfg(any(debug_assertions, feature = "fault-injection"))]
fn barrier_is_off() -> bool {
    static OFF: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *OFF.get_or_init(|| std::env::var_os("PAYVAULT_TEST_BARRIER_OFF").is_some())
}

/// In a release there is no switch.
#[cfg(not(any(debug_assertions, feature = "fault-injection")))]
fn barrier_is_off() -> bool {
    false
}

/// Memory that is kept out of the swap until this is dropped.
///
/// Holds a range of addresses, not the memory: it neither reads nor frees it, so the order in
/// which the two are dropped does not matter to safety. Wipe the memory first, all the same.
#[must_use = "the memory is unlocked when this is dropped"]
pub struct Locked {
    /// The first page and how many follow it; none when the kernel refused.
    pages: Option<(usize, usize)>,
}

/// Locks the pages under `bytes` in memory, as well as the system lets us (`RLIMIT_MEMLOCK` is
/// often small). Ask [`Locked::is_locked`]; a refusal is not an error, since a vault without
/// locked memory is still a vault.
pub fn lock_memory(bytes: &[u8]) -> Locked {
    if bytes.is_empty() {
        return Locked { pages: None };
    }
    let size = page_size();
    let first = bytes.as_ptr() as usize / size;
    let last = (bytes.as_ptr() as usize + bytes.len() - 1) / size;
    let pages = (first, last - first + 1);
    let mut counts = page_counts();
    // SAFETY: mlock changes no memory. The range covers whole pages that `bytes` lies in, so they
    // are mapped.
    let locked =
        unsafe { rustix::mm::mlock((first * size) as *mut std::ffi::c_void, pages.1 * size) };
    if locked.is_err() {
        return Locked { pages: None };
    }
    for page in first..=last {
        *counts.entry(page).or_insert(0) += 1;
    }
    Locked { pages: Some(pages) }
}

impl Locked {
    /// Whether the kernel did lock it.
    pub fn is_locked(&self) -> bool {
        self.pages.is_some()
    }
}

impl Drop for Locked {
    fn drop(&mut self) {
        let Some((first, count)) = self.pages else {
            return;
        };
        let size = page_size();
        let mut counts = page_counts();
        for page in first..first + count {
            let users = counts.entry(page).or_insert(1);
            *users -= 1;
            if *users > 0 {
                continue;
            }
            counts.remove(&page);
            // SAFETY: munlock changes no memory. On a page that is no longer mapped it fails and
            // does nothing; such a page isn't locked either, so the error is of no interest.
            let _ = unsafe { rustix::mm::munlock((page * size) as *mut std::ffi::c_void, size) };
        }
    }
}

/// How many guards hold each locked page. The kernel does not count: without this, dropping one
/// secret's guard would unlock its neighbours on the same page.
fn page_counts() -> MutexGuard<'static, BTreeMap<usize, usize>> {
    static COUNTS: Mutex<BTreeMap<usize, usize>> = Mutex::new(BTreeMap::new());
    COUNTS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn page_size() -> usize {
    // SAFETY: sysconf reads a constant.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    // It can't fail for a page size; 4096 locks too much rather than too little if it did.
    usize::try_from(size).unwrap_or(4096).max(1)
}

/// Blocks of 512 bytes that were read from a disk for this thread. What the system had in memory is
/// not counted: where the number stands still, no read waited. 0 where the system doesn't say.
#[cfg(target_os = "linux")]
pub fn blocks_read() -> u64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the pointer is to a whole struct of that type, which the kernel fills.
    let answer = unsafe { libc::getrusage(libc::RUSAGE_THREAD, usage.as_mut_ptr()) };
    if answer != 0 {
        return 0;
    }
    // SAFETY: it is made of integers, and was zeroed before it was filled.
    let usage = unsafe { usage.assume_init() };
    u64::try_from(usage.ru_inblock).unwrap_or(0)
}

/// Nobody counts them for a thread.
#[cfg(not(target_os = "linux"))]
pub fn blocks_read() -> u64 {
    0
}

/// The shortest time slice that Linux gives a thread, in nanoseconds.
#[cfg(target_os = "linux")]
const SLICE_NS: u64 = 100_000;

/// Asks that this thread, once it is woken, needn't wait until another one's time slice is over: it
/// gets shorter slices, as many more of them as they are shorter, so that its share of the core stays
/// what it is. Threads that it starts have ordinary ones (and a niceness below 0 becomes 0). Since
/// Linux 6.12 (`sched_setattr(2)`, `sched_runtime` of an ordinary thread); an older one takes the wish
/// and does nothing. Needs no privilege.
///
/// # Errors
/// When the kernel, or a filter of system calls, refuses; nothing changed then.
#[cfg(target_os = "linux")]
pub fn short_slices() -> io::Result<()> {
    let mut attr = time_slices()?;
    attr.size = size_of::<libc::sched_attr>() as u32;
    attr.sched_runtime = SLICE_NS;
    attr.sched_flags = libc::SCHED_FLAG_RESET_ON_FORK as u64;
    // SAFETY: the pointer is to a whole struct of the size that it names, which is only read.
    let set = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attr, 0) };
    if set != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// How the kernel divides its time among threads, as far as it is this one's.
#[cfg(target_os = "linux")]
fn time_slices() -> io::Result<libc::sched_attr> {
    let size = size_of::<libc::sched_attr>() as c_uint;
    let mut attr = std::mem::MaybeUninit::<libc::sched_attr>::zeroed();
    // SAFETY: the pointer is to a whole struct of that size, which the kernel fills; 0 is this thread.
    let got = unsafe { libc::syscall(libc::SYS_sched_getattr, 0, attr.as_mut_ptr(), size, 0) };
    if got != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: it is made of integers, and was zeroed before it was filled.
    Ok(unsafe { attr.assume_init() })
}

/// Elsewhere nobody is asked.
#[cfg(not(target_os = "linux"))]
pub fn short_slices() -> io::Result<()> {
    Ok(())
}

/// [`lock_memory`] for what a value occupies itself, without what it points to.
pub fn lock_value<T>(value: &T) -> Locked {
    // SAFETY: the range is the value's own, and only its address and length are used.
    lock_memory(unsafe {
        std::slice::from_raw_parts(std::ptr::from_ref(value).cast::<u8>(), size_of::<T>())
    })
}

/// mimalloc, with memory wiped when it is given back. Costs a `memset` of what is freed.
pub struct WipingAllocator;

// SAFETY: every block comes from mimalloc and goes back to it, with the layout that it was asked for
// or, after a shrinking in place, a smaller one, which mimalloc does not look at. Memory is written
// to only between its owner's giving it back and mimalloc's getting it.
unsafe impl GlobalAlloc for WipingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps to `GlobalAlloc`'s contract, which is mimalloc's.
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller owned `layout.size()` bytes from `block` on, and has given them up.
        // mimalloc is foreign code: the compiler can't know that nobody reads the zeros.
        unsafe {
            block.write_bytes(0, layout.size());
            MiMalloc.dealloc(block, layout);
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let old_size = layout.size();
        if new_size <= old_size && new_size >= old_size / 2 {
            // Stays where it is; what is cut off is wiped.
            // SAFETY: the bytes from `new_size` to `old_size` were the caller's, and are given up.
            unsafe { block.add(new_size).write_bytes(0, old_size - new_size) };
            return block;
        }
        // mimalloc's own would free the old block as it is.
        // SAFETY: the caller promises that `new_size` fits the alignment's layout; both blocks are
        // at least as long as what is copied, and they do not overlap.
        unsafe {
            let moved = Layout::from_size_align_unchecked(new_size, layout.align());
            let new = MiMalloc.alloc(moved);
            if !new.is_null() {
                new.copy_from_nonoverlapping(block, old_size.min(new_size));
                self.dealloc(block, layout);
            }
            new
        }
    }
}

/// Makes sure that this process leaves no core file and that other processes of the same user
/// can't attach to it. MUST be called before the first secret is read.
///
/// # Errors
/// When the kernel refuses, which it does not do on any Linux that we know.
pub fn no_core_dumps() -> io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(Resource::Core, none)?;
    #[cfg(target_os = "linux")]
    if !may_be_looked_at() {
        rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    }
    Ok(())
}

/// Whether a test asked, by `PAYVAULT_TEST_DUMPABLE`, to look at this process's memory.
#[cfg(all(target_os = "linux", feature = "fault-injection"))]
fn may_be_looked_at() -> bool {
    std::env::var_os("PAYVAULT_TEST_DUMPABLE").is_some()
}

/// In a release nobody may.
#[cfg(all(target_os = "linux", not(feature = "fault-injection")))]
fn may_be_looked_at() -> bool {
    false
}

/// Lets this process have `wanted` files open at once, or as many as the system allows; how many
/// that is.
///
/// # Errors
/// When the kernel refuses, which it does not do on any Linux that we know.
pub fn allow_open_files(wanted: u64) -> io::Result<u64> {
    let limit = rustix::process::getrlimit(Resource::Nofile);
    let current = limit.current.unwrap_or(u64::MAX);
    let allowed = wanted.min(limit.maximum.unwrap_or(u64::MAX));
    if current >= allowed {
        return Ok(current);
    }
    let raised = Rlimit {
        current: Some(allowed),
        ..limit
    };
    rustix::process::setrlimit(Resource::Nofile, raised)?;
    Ok(allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_of_the_engine_hits_our_barrier() {
        let dir = tempfile::tempdir().unwrap();
        let before = barrier_calls();
        let db = ::sled::Config::new()
            .path(dir.path().join("db"))
            .flush_every_ms(None)
            .open()
            .unwrap();
        db.insert(b"key", b"value").unwrap();
        db.flush().unwrap();
        assert!(
            barrier_calls() > before,
            "sled reached another sync_file_range"
        );
    }

    #[test]
    fn a_renaming_is_made_durable_where_that_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| dir.path().join(name));
        std::fs::write(&from, "content").unwrap();
        let before = durable_renames();
        durable_names(|| std::fs::rename(&from, &to)).unwrap();
        assert!(
            durable_renames() > before,
            "std reached another rename, and so does the engine"
        );
        assert_eq!(std::fs::read_to_string(&to).unwrap(), "content");
        let missing = durable_names(|| std::fs::rename(&from, &to)).unwrap_err();
        assert_eq!(missing.kind(), io::ErrorKind::NotFound);
        let panicked = std::panic::catch_unwind(|| durable_names(|| panic!("on purpose")));
        assert!(panicked.is_err());
        assert!(!NAMES_ARE_DURABLE.get(), "the wish ends with the work");
        std::fs::rename(&to, &from).unwrap();
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_thread_has_short_slices_and_those_that_it_starts_have_not() {
        // A filter of system calls may refuse both; then nothing is to change.
        let thread = std::thread::spawn(|| {
            let before = time_slices();
            let set = short_slices();
            let child = std::thread::spawn(time_slices).join().unwrap();
            Some((before.ok()?, set, time_slices().ok()?, child.ok()?))
        });
        let Some((before, set, own, child)) = thread.join().unwrap() else {
            eprintln!("skipped: this system doesn't tell a thread's time slices");
            return;
        };
        assert_eq!(own.sched_nice, before.sched_nice);
        assert_eq!(own.sched_policy, before.sched_policy);
        if before.sched_runtime == 0 || set.is_err() {
            eprintln!("skipped: this system has no time slices of a thread's own ({set:?})");
            return;
        }
        assert_eq!(own.sched_runtime, SLICE_NS);
        assert_eq!(child.sched_runtime, before.sched_runtime);
    }

    #[test]
    fn a_bad_descriptor_is_an_error_and_not_a_silent_success() {
        assert_eq!(sync_file_range(-1, 0, 0, 0), -1);
        assert_eq!(io::Error::last_os_error().raw_os_error(), Some(libc::EBADF));
    }

    #[test]
    fn neighbours_on_a_page_stay_locked_until_the_last_is_dropped() {
        let memory = Box::new([7u8; 64]);
        let page = memory.as_ptr() as usize / page_size();
        let first = lock_memory(&memory[..32]);
        let second = lock_memory(&memory[..16]);
        if !first.is_locked() {
            eprintln!("skipped: the system lets this user lock no memory");
            return;
        }
        drop(first);
        assert!(page_counts().contains_key(&page));
        assert!(second.is_locked());
        drop(second);
        // Another test may hold a lock on the same page, but only through its own guard.
        assert!(page_counts().get(&page).is_none_or(|users| *users > 0));
        assert!(!lock_memory(&[]).is_locked());
    }

    #[test]
    fn what_is_cut_off_is_wiped_and_what_is_kept_is_not() {
        let layout = Layout::from_size_align(4096, 16).unwrap();
        // SAFETY: blocks are used within their sizes, until they are given back.
        unsafe {
            let block = WipingAllocator.alloc(layout);
            block.write_bytes(0x5a, 4096);
            let same = WipingAllocator.realloc(block, layout, 3000);
            assert_eq!(same, block, "cut off in place");
            assert_eq!((same.add(2999).read(), same.add(3000).read()), (0x5a, 0));
            let shorter = Layout::from_size_align(3000, 16).unwrap();
            let grown = WipingAllocator.realloc(same, shorter, 100_000);
            assert!((0..3000).all(|at| grown.add(at).read() == 0x5a));
            WipingAllocator.dealloc(grown, Layout::from_size_align(100_000, 16).unwrap());
            let zeroed = WipingAllocator.alloc_zeroed(layout);
            assert!((0..4096).all(|at| zeroed.add(at).read() == 0));
            WipingAllocator.dealloc(zeroed, layout);
        }
    }

    #[test]
    fn core_files_are_off_and_stay_off() {
        no_core_dumps().unwrap();
        assert_eq!(rustix::process::getrlimit(Resource::Core).current, Some(0));
        no_core_dumps().unwrap();
        // Other tests of this process may want to look at it from outside.
        #[cfg(target_os = "linux")]
        rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable).unwrap();
    }
}
