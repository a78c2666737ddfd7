//! What a call allocates on its own thread: a length in an input must not decide it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, counting.
struct Counting;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
    /// What is looked for in what is freed, and how often it was found there.
    static LOOKED_FOR: Cell<(&'static [u8], usize)> = const { Cell::new((b"", 0)) };
}

fn count(bytes: usize) {
    // A thread that ends allocates too; nobody asks for its count.
    let _ = ALLOCATED.try_with(|sum| sum.set(sum.get().saturating_add(bytes)));
}

/// Only blocks of the very size are looked at: a string of that length has filled its own.
///
/// # Safety
/// `old` is a block of `size` bytes.
unsafe fn look(old: *const u8, size: usize) {
    let _ = LOOKED_FOR.try_with(|cell| {
        let (looked_for, found) = cell.get();
        if size == looked_for.len() && size > 0 {
            let block = unsafe { std::slice::from_raw_parts(old, size) };
            cell.set((looked_for, found + usize::from(block == looked_for)));
        }
    });
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size());
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, old: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size.saturating_sub(layout.size()));
        unsafe { System.realloc(old, layout, size) }
    }
    unsafe fn dealloc(&self, old: *mut u8, layout: Layout) {
        unsafe { look(old, layout.size()) }
        unsafe { System.dealloc(old, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes that a call may allocate for each byte that came in, all its allocations summed up. JSON
/// that is read and written again, each string copied a few times, comes nearest.
const TIMES: usize = 64;
/// What it may allocate however short the input is: buffers of a fixed size.
const FIXED: usize = 256 << 10;

/// Runs `call` over `input` bytes and fails when it allocates out of all proportion.
pub fn bounded<T>(input: usize, call: impl FnOnce() -> T) -> T {
    let before = ALLOCATED.with(Cell::get);
    let result = call();
    let allocated = ALLOCATED.with(Cell::get) - before;
    let bound = FIXED + TIMES * input;
    assert!(
        allocated <= bound,
        "{input} bytes made it allocate {allocated}, more than {bound}"
    );
    result
}

/// How many blocks that `call` frees are `looked_for` still: what was not wiped.
#[cfg(test)]
pub fn freed_unwiped(looked_for: &'static str, call: impl FnOnce()) -> usize {
    LOOKED_FOR.set((looked_for.as_bytes(), 0));
    call();
    LOOKED_FOR.replace((b"", 0)).1
}
