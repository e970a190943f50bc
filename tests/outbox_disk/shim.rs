//! Stands between this test program and its disk.
//!
//! The C library's calls that change files are defined here anew: the linker takes these for all Rust code of the program,
//! the standard library and sled included. Each does what it is asked to by the system call, and notes it, when the file
//! lies in the watched directory. Or it refuses, as a broken disk would.

#![allow(unsafe_code, reason = "symbols of the C library, and system calls, have no safe form")]
#![allow(
    clippy::undocumented_unsafe_blocks,
    reason = "one reason for all of the C library's functions, said above them"
)]

use std::ffi::{CStr, OsStr, c_char, c_int, c_uint, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use libc::{AT_FDCWD, mode_t, off64_t, size_t, ssize_t};

/// A change of the disk, by path from the watched directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Op {
    Create(PathBuf),
    Write(PathBuf, u64, Vec<u8>),
    Truncate(PathBuf, u64),
    /// `fsync` or `fdatasync`, of a file or a directory.
    Sync(PathBuf),
    Mkdir(PathBuf),
    Rename(PathBuf, PathBuf),
    /// A file or an empty directory.
    Remove(PathBuf),
}

/// A disk that refuses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fault {
    /// From this call on, counted from 0.
    pub(crate) from: u64,
    /// So many calls.
    pub(crate) count: u64,
    pub(crate) errno: c_int,
    /// Reads are counted and refused, instead of changes.
    pub(crate) reads: bool,
}

struct Watch {
    root: PathBuf,
    ops: Vec<Op>,
    fault: Option<Fault>,
    changes: u64,
    reads: u64,
}

static WATCH: Mutex<Option<Watch>> = Mutex::new(None);
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// While it lives, what happens below a directory is noted. One at a time.
pub(crate) struct Watching(#[allow(dead_code, reason = "held")] MutexGuard<'static, ()>);

impl Watching {
    pub(crate) fn start(root: &Path) -> Self {
        let one = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        *lock() = Some(Watch { root: root.to_owned(), ops: Vec::new(), fault: None, changes: 0, reads: 0 });
        Self(one)
    }

    /// What happened so far.
    pub(crate) fn count(&self) -> usize {
        lock().as_ref().map_or(0, |watch| watch.ops.len())
    }

    pub(crate) fn ops(&self) -> Vec<Op> {
        lock().as_ref().map_or_else(Vec::new, |watch| watch.ops.clone())
    }

    /// Calls that change something, and calls that read, refused ones too.
    pub(crate) fn calls(&self) -> (u64, u64) {
        lock().as_ref().map_or((0, 0), |watch| (watch.changes, watch.reads))
    }

    pub(crate) fn set_fault(&self, fault: Option<Fault>) {
        if let Some(watch) = lock().as_mut() {
            watch.fault = fault;
        }
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        *lock() = None;
    }
}

fn lock() -> MutexGuard<'static, Option<Watch>> {
    WATCH.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A path as the watched directory has it; `None` when it is not in there.
fn inside(path: &Path) -> Option<PathBuf> {
    // Nothing may be allocated or locked for the rest of the program's files; but this is a test.
    Some(path.strip_prefix(&lock().as_ref()?.root).ok()?.to_owned())
}

/// # Safety
/// `path` is a string of C's.
unsafe fn text(path: *const c_char) -> PathBuf {
    // SAFETY: as promised.
    OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes()).into()
}

/// The file behind a number.
fn of(fd: c_int) -> Option<PathBuf> {
    if fd <= 2 || lock().is_none() {
        return None;
    }
    let mut buffer = [0_u8; 1024];
    let link = format!("/proc/self/fd/{fd}\0");
    // SAFETY: `link` ends with a zero and `buffer` has room for as much as is said. Not std's own, which may come back here.
    let length =
        unsafe { libc::syscall(libc::SYS_readlinkat, AT_FDCWD, link.as_ptr(), buffer.as_mut_ptr(), buffer.len()) };
    let bytes = buffer.get(..usize::try_from(length).ok()?)?;
    let path = Path::new(OsStr::from_bytes(bytes));
    // What has no name any more survives nothing.
    if path.to_string_lossy().ends_with(" (deleted)") { None } else { inside(path) }
}

/// Does a change, notes it when it worked, or refuses.
fn change(path: Option<PathBuf>, call: impl FnOnce() -> i64, note: impl FnOnce(PathBuf, i64) -> Option<Op>) -> i64 {
    let Some(path) = path else { return call() };
    let mut guard = lock();
    let Some(watch) = guard.as_mut() else { return call() };
    let at = watch.changes;
    watch.changes += 1;
    if let Some(errno) = refused(watch.fault, false, at) {
        return errno;
    }
    // The lock is held: what several threads do has one order.
    let result = call();
    if result >= 0
        && let Some(op) = note(path, result)
    {
        watch.ops.push(op);
    }
    result
}

fn read(fd: c_int, call: impl FnOnce() -> i64) -> i64 {
    if of(fd).is_none() {
        return call();
    }
    let mut guard = lock();
    let Some(watch) = guard.as_mut() else { return call() };
    let at = watch.reads;
    watch.reads += 1;
    refused(watch.fault, true, at).unwrap_or_else(call)
}

fn refused(fault: Option<Fault>, reads: bool, at: u64) -> Option<i64> {
    let fault = fault.filter(|fault| fault.reads == reads && (fault.from..fault.from + fault.count).contains(&at))?;
    // SAFETY: the address of this thread's own number.
    unsafe { *libc::__errno_location() = fault.errno };
    Some(-1)
}

/// # Safety
/// `from` has `n` bytes.
unsafe fn bytes(from: *const c_void, n: i64) -> Vec<u8> {
    let n = usize::try_from(n).unwrap_or(0);
    // SAFETY: as promised.
    unsafe { std::slice::from_raw_parts(from.cast::<u8>(), n) }.to_vec()
}

#[expect(clippy::cast_possible_truncation, reason = "as the C library does")]
fn int(result: i64) -> c_int {
    result as c_int
}

#[expect(clippy::cast_possible_truncation, reason = "as the C library does")]
fn size(result: i64) -> ssize_t {
    result as ssize_t
}

// SAFETY of all that follow: the arguments are those of the C library's functions of the same names, and go to the system
// call as they are.

#[unsafe(no_mangle)]
unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: c_uint) -> c_int {
    let call = || unsafe { libc::syscall(libc::SYS_openat, AT_FDCWD, path, flags, mode) };
    let name = unsafe { text(path) };
    let is_new = flags & libc::O_CREAT != 0 && inside(&name).is_some() && std::fs::symlink_metadata(&name).is_err();
    if !is_new && flags & libc::O_TRUNC == 0 {
        return int(call());
    }
    let op = |path, _| Some(if is_new { Op::Create(path) } else { Op::Truncate(path, 0) });
    int(change(inside(&name), call, op))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(fd: c_int, from: *const c_void, n: size_t, at: off64_t) -> ssize_t {
    let call = || unsafe { libc::syscall(libc::SYS_pwrite64, fd, from, n, at) };
    let place = u64::try_from(at).unwrap_or(0);
    size(change(of(fd), call, |path, n| Some(Op::Write(path, place, unsafe { bytes(from, n) }))))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn write(fd: c_int, from: *const c_void, n: size_t) -> ssize_t {
    let at = unsafe { libc::syscall(libc::SYS_lseek, fd, 0, libc::SEEK_CUR) };
    let call = || unsafe { libc::syscall(libc::SYS_write, fd, from, n) };
    let place = u64::try_from(at).unwrap_or(0);
    size(change(of(fd), call, |path, n| Some(Op::Write(path, place, unsafe { bytes(from, n) }))))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate64(fd: c_int, length: off64_t) -> c_int {
    let call = || unsafe { libc::syscall(libc::SYS_ftruncate, fd, length) };
    int(change(of(fd), call, |path, _| Some(Op::Truncate(path, u64::try_from(length).unwrap_or(0)))))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fsync(fd: c_int) -> c_int {
    int(change(of(fd), || unsafe { libc::syscall(libc::SYS_fsync, fd) }, |path, _| Some(Op::Sync(path))))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdatasync(fd: c_int) -> c_int {
    int(change(of(fd), || unsafe { libc::syscall(libc::SYS_fdatasync, fd) }, |path, _| Some(Op::Sync(path))))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    let call = || unsafe { libc::syscall(libc::SYS_mkdirat, AT_FDCWD, path, mode) };
    int(change(inside(&unsafe { text(path) }), call, |path, _| Some(Op::Mkdir(path))))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    let call = || unsafe { libc::syscall(libc::SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0) };
    let to = inside(&unsafe { text(to) });
    int(change(inside(&unsafe { text(from) }), call, |from, _| Some(Op::Rename(from, to?))))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    let call = || unsafe { libc::syscall(libc::SYS_unlinkat, AT_FDCWD, path, 0) };
    int(change(inside(&unsafe { text(path) }), call, |path, _| Some(Op::Remove(path))))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rmdir(path: *const c_char) -> c_int {
    let call = || unsafe { libc::syscall(libc::SYS_unlinkat, AT_FDCWD, path, libc::AT_REMOVEDIR) };
    int(change(inside(&unsafe { text(path) }), call, |path, _| Some(Op::Remove(path))))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unlinkat(dir: c_int, path: *const c_char, flags: c_int) -> c_int {
    let call = || unsafe { libc::syscall(libc::SYS_unlinkat, dir, path, flags) };
    let name = unsafe { text(path) };
    let whole = if dir == AT_FDCWD { inside(&name) } else { of(dir).map(|dir| dir.join(name)) };
    int(change(whole, call, |path, _| Some(Op::Remove(path))))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pread64(fd: c_int, to: *mut c_void, n: size_t, at: off64_t) -> ssize_t {
    size(read(fd, || unsafe { libc::syscall(libc::SYS_pread64, fd, to, n, at) }))
}

#[unsafe(no_mangle)]
#[allow(clippy::module_name_repetitions, reason = "the C library's name")]
unsafe extern "C" fn sync_file_range(fd: c_int, at: off64_t, n: off64_t, flags: c_uint) -> c_int {
    // Starts writing; promises nothing. Not noted, but a broken disk refuses it.
    int(change(of(fd), || unsafe { libc::syscall(libc::SYS_sync_file_range, fd, at, n, flags) }, |_, _| None))
}
