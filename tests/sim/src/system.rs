//! Replacements for the C library's file calls in this test program: the tested code runs unchanged, down to the system
//! calls, and [`disk`](crate::disk) is told of every change below its folder.
//!
//! A definition in the program takes precedence over the library's of the same name. Calls that are not about a
//! simulated disk go straight to the kernel. A comparison (`Medium::compare`) at every restart of every run checks that
//! no operation was missed.

use std::ffi::CStr;

use libc::{c_char, c_int, c_long, c_uint, c_void, mode_t, off64_t, size_t, ssize_t};

use crate::clock;
use crate::disk::{self, Act};

fn fail(errno: c_int) -> c_int {
    // SAFETY: the location is this thread's own.
    unsafe { *libc::__errno_location() = errno };
    -1
}

fn size(result: c_long) -> ssize_t {
    ssize_t::try_from(result).unwrap_or(-1)
}

fn int(result: c_long) -> c_int {
    c_int::try_from(result).unwrap_or(-1)
}

/// The bytes of a path that a caller passed.
///
/// # Safety
/// `path` is a C string, as the calls below demand of their callers.
unsafe fn bytes_of<'a>(path: *const c_char) -> &'a [u8] {
    // SAFETY: as above.
    unsafe { CStr::from_ptr(path) }.to_bytes()
}

/// The bytes stored through a map that has not been unmapped.
pub(crate) fn mapped_bytes(start: usize, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    // SAFETY: the disk knows the map from `mmap64` below and forgets it at `munmap`; it can be read, and only this
    // thread writes to it.
    unsafe { std::ptr::copy_nonoverlapping(start as *const u8, bytes.as_mut_ptr(), len) };
    bytes
}

/// Whether a map that has not been unmapped holds these bytes.
pub(crate) fn is_mapped(start: usize, bytes: &[u8]) -> bool {
    // SAFETY: as above, and the caller has not more bytes than the map.
    unsafe { std::slice::from_raw_parts(start as *const u8, bytes.len()) == bytes }
}

/// Lets this process have as many files open as the system allows.
pub(crate) fn raise_file_limit() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: both calls get a limit of this process's own.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) == 0 {
            limit.rlim_cur = limit.rlim_max;
            libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit);
        }
    }
}

fn open_act(flags: c_int) -> Act {
    if flags & libc::O_CREAT == 0 {
        Act::Open
    } else {
        Act::Create
    }
}

// SAFETY of all that follow: each has the signature of the library's function and passes the caller's arguments on.

#[unsafe(no_mangle)]
unsafe extern "C" fn open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    // SAFETY: the caller passes a path.
    let name = disk::with(|disk| disk.name_of(unsafe { bytes_of(path) })).flatten();
    if let Some(errno) = name
        .as_ref()
        .and_then(|_| disk::with(|disk| disk.refuse(open_act(flags))).flatten())
    {
        return fail(errno);
    }
    // SAFETY: the caller's arguments.
    let descriptor =
        int(unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, mode) });
    if descriptor >= 0 {
        disk::with(|disk| {
            disk.closed(descriptor);
            if let Some(name) = &name {
                disk.opened(descriptor, name, flags);
            }
        });
    }
    descriptor
}

#[unsafe(no_mangle)]
unsafe extern "C" fn openat64(
    folder: c_int,
    path: *const c_char,
    flags: c_int,
    mode: mode_t,
) -> c_int {
    if folder == libc::AT_FDCWD {
        // SAFETY: the caller's arguments.
        return unsafe { open64(path, flags, mode) };
    }
    // SAFETY: the caller passes a path.
    let name = disk::with(|disk| disk.name_in(folder, unsafe { bytes_of(path) })).flatten();
    // SAFETY: the caller's arguments.
    let descriptor = int(unsafe { libc::syscall(libc::SYS_openat, folder, path, flags, mode) });
    if descriptor >= 0 {
        disk::with(|disk| {
            disk.closed(descriptor);
            if let Some(name) = &name {
                disk.opened(descriptor, name, flags);
            }
        });
    }
    descriptor
}

#[unsafe(no_mangle)]
unsafe extern "C" fn close(descriptor: c_int) -> c_int {
    disk::with(|disk| disk.closed(descriptor));
    // SAFETY: the caller's arguments.
    int(unsafe { libc::syscall(libc::SYS_close, descriptor) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(
    descriptor: c_int,
    bytes: *const c_void,
    count: size_t,
    offset: off64_t,
) -> ssize_t {
    // SAFETY: the caller's arguments.
    let pass_on = |count: size_t| unsafe {
        size(libc::syscall(
            libc::SYS_pwrite64,
            descriptor,
            bytes,
            count,
            offset,
        ))
    };
    let Some(inode) = disk::with(|disk| disk.file(descriptor)).flatten() else {
        return pass_on(count);
    };
    let at = usize::try_from(offset).expect("a place in a file");
    let refused = disk::with(|disk| {
        let refused = disk.refuse(Act::Write);
        refused.or_else(|| {
            disk.would_overflow(inode, at + count)
                .then_some(libc::ENOSPC)
        })
    });
    // SAFETY: the caller passes `count` bytes.
    let all = unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), count) };
    if let Some(errno) = refused.flatten() {
        let short = disk::with(|disk| disk.short_write(count)).unwrap_or(0);
        if short > 0 && !disk::with(|disk| disk.is_full).unwrap_or(false) {
            pass_on(short);
            disk::with(|disk| disk.written(inode, at, &all[..short]));
        }
        return fail(errno) as ssize_t;
    }
    disk::with(|disk| disk.written(inode, at, all));
    pass_on(count)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn write(descriptor: c_int, bytes: *const c_void, count: size_t) -> ssize_t {
    if disk::with(|disk| disk.file(descriptor)).flatten().is_some() {
        // SAFETY: the caller's descriptor.
        unsafe {
            let offset = libc::lseek64(descriptor, 0, libc::SEEK_CUR);
            let written = pwrite64(descriptor, bytes, count, offset);
            if written > 0 {
                libc::lseek64(descriptor, written as off64_t, libc::SEEK_CUR);
            }
            written
        }
    } else {
        // SAFETY: the caller's arguments.
        unsafe { size(libc::syscall(libc::SYS_write, descriptor, bytes, count)) }
    }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn ftruncate64(descriptor: c_int, len: off64_t) -> c_int {
    if let Some(inode) = disk::with(|disk| disk.file(descriptor)).flatten() {
        disk::with(|disk| disk.sized(inode, usize::try_from(len).expect("a length")));
    }
    // SAFETY: the caller's arguments.
    int(unsafe { libc::syscall(libc::SYS_ftruncate, descriptor, len) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fallocate64(
    descriptor: c_int,
    mode: c_int,
    offset: off64_t,
    len: off64_t,
) -> c_int {
    if let Some(inode) = disk::with(|disk| disk.file(descriptor)).flatten() {
        if let Some(errno) = disk::with(|disk| disk.refuse(Act::Allocate)).flatten() {
            return fail(errno);
        }
        let end = usize::try_from(offset + len).expect("a length");
        disk::with(|disk| disk.allocated(inode, end));
    }
    // SAFETY: the caller's arguments.
    int(unsafe { libc::syscall(libc::SYS_fallocate, descriptor, mode, offset, len) })
}

/// A sync of the simulated disk does not have to reach a real one.
fn sync(descriptor: c_int) -> Option<c_int> {
    if !disk::with(|disk| disk.knows(descriptor)).unwrap_or(false) {
        return None;
    }
    let refused = disk::with(|disk| disk.refuse(Act::Sync)).flatten();
    disk::with(|disk| disk.synced(descriptor, refused.is_none()));
    Some(refused.map_or(0, fail))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fsync(descriptor: c_int) -> c_int {
    // SAFETY: the caller's arguments.
    sync(descriptor).unwrap_or_else(|| int(unsafe { libc::syscall(libc::SYS_fsync, descriptor) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdatasync(descriptor: c_int) -> c_int {
    // SAFETY: the caller's arguments.
    sync(descriptor)
        .unwrap_or_else(|| int(unsafe { libc::syscall(libc::SYS_fdatasync, descriptor) }))
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rename(from: *const c_char, to: *const c_char) -> c_int {
    // SAFETY: the caller passes two paths.
    let (old, new) = unsafe { (bytes_of(from), bytes_of(to)) };
    let names = disk::with(|disk| Some((disk.name_of(old)?, disk.name_of(new)?))).flatten();
    if names.is_some()
        && let Some(errno) = disk::with(|disk| disk.refuse(Act::Rename)).flatten()
    {
        return fail(errno);
    }
    disk::with(disk::Disk::observe);
    // SAFETY: the caller's arguments.
    let result =
        int(unsafe { libc::syscall(libc::SYS_renameat, libc::AT_FDCWD, from, libc::AT_FDCWD, to) });
    if let (0, Some((old, new))) = (result, names) {
        disk::with(|disk| disk.renamed(&old, &new));
    }
    result
}

/// Removes a file or a folder and reports it to the disk.
///
/// # Safety
/// `path` is a C string.
unsafe fn remove(folder: c_int, path: *const c_char, flags: c_int, name: Option<String>) -> c_int {
    if name.is_some()
        && let Some(errno) = disk::with(|disk| disk.refuse(Act::Remove)).flatten()
    {
        return fail(errno);
    }
    // SAFETY: the caller's arguments.
    let result = int(unsafe { libc::syscall(libc::SYS_unlinkat, folder, path, flags) });
    if let (0, Some(name)) = (result, name) {
        disk::with(|disk| disk.removed(&name));
    }
    result
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unlink(path: *const c_char) -> c_int {
    // SAFETY: the caller passes a path.
    let name = disk::with(|disk| disk.name_of(unsafe { bytes_of(path) })).flatten();
    // SAFETY: the caller's arguments.
    unsafe { remove(libc::AT_FDCWD, path, 0, name) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn rmdir(path: *const c_char) -> c_int {
    // SAFETY: the caller passes a path.
    let name = disk::with(|disk| disk.name_of(unsafe { bytes_of(path) })).flatten();
    // SAFETY: the caller's arguments.
    unsafe { remove(libc::AT_FDCWD, path, libc::AT_REMOVEDIR, name) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn unlinkat(folder: c_int, path: *const c_char, flags: c_int) -> c_int {
    // SAFETY: the caller passes a path.
    let path_bytes = unsafe { bytes_of(path) };
    let name = disk::with(|disk| {
        if folder == libc::AT_FDCWD {
            disk.name_of(path_bytes)
        } else {
            disk.name_in(folder, path_bytes)
        }
    });
    // SAFETY: the caller's arguments.
    unsafe { remove(folder, path, flags, name.flatten()) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mkdir(path: *const c_char, mode: mode_t) -> c_int {
    // SAFETY: the caller passes a path.
    let name = disk::with(|disk| disk.name_of(unsafe { bytes_of(path) })).flatten();
    if name.is_some() && disk::with(|disk| disk.is_full).unwrap_or(false) {
        return fail(libc::ENOSPC);
    }
    // SAFETY: the caller's arguments.
    let result = int(unsafe { libc::syscall(libc::SYS_mkdirat, libc::AT_FDCWD, path, mode) });
    if let (0, Some(name)) = (result, name) {
        disk::with(|disk| disk.made_folder(&name));
    }
    result
}

#[unsafe(no_mangle)]
unsafe extern "C" fn mmap64(
    address: *mut c_void,
    len: size_t,
    protection: c_int,
    flags: c_int,
    descriptor: c_int,
    offset: off64_t,
) -> *mut c_void {
    // SAFETY: the caller's arguments.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mmap,
            address,
            len,
            protection,
            flags,
            descriptor,
            offset,
        )
    } as *mut c_void;
    let is_written = protection & libc::PROT_WRITE != 0 && flags & libc::MAP_SHARED != 0;
    if result != libc::MAP_FAILED && is_written && descriptor >= 0 {
        disk::with(|disk| {
            if let Some(inode) = disk.file(descriptor) {
                disk.mapped(result as usize, len, inode);
            }
        });
    }
    result
}

#[unsafe(no_mangle)]
unsafe extern "C" fn munmap(address: *mut c_void, len: size_t) -> c_int {
    disk::with(|disk| disk.unmapped(address as usize));
    // SAFETY: the caller's arguments.
    int(unsafe { libc::syscall(libc::SYS_munmap, address, len) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn msync(address: *mut c_void, len: size_t, flags: c_int) -> c_int {
    if disk::with(|disk| disk.map_synced(address as usize)) == Some(true) {
        return 0;
    }
    // SAFETY: the caller's arguments.
    int(unsafe { libc::syscall(libc::SYS_msync, address, len, flags) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn linkat(
    old_folder: c_int,
    old: *const c_char,
    new_folder: c_int,
    new: *const c_char,
    flags: c_int,
) -> c_int {
    // SAFETY: the caller passes two paths.
    let (from, to) = unsafe { (bytes_of(old), bytes_of(new)) };
    let names = disk::with(|disk| Some((disk.name_of(from)?, disk.name_of(to)?))).flatten();
    if names.is_some()
        && let Some(errno) = disk::with(|disk| disk.refuse(Act::Create)).flatten()
    {
        return fail(errno);
    }
    // SAFETY: the caller's arguments.
    let result =
        int(unsafe { libc::syscall(libc::SYS_linkat, old_folder, old, new_folder, new, flags) });
    if let (0, Some((old, new))) = (result, names) {
        disk::with(|disk| disk.linked(&old, &new));
    }
    result
}

#[unsafe(no_mangle)]
unsafe extern "C" fn syncfs(descriptor: c_int) -> c_int {
    if disk::with(|disk| disk.knows(descriptor)).unwrap_or(false) {
        if let Some(errno) = disk::with(|disk| disk.refuse(Act::Sync)).flatten() {
            return fail(errno);
        }
        disk::with(disk::Disk::synced_all);
        return 0;
    }
    // SAFETY: the caller's arguments.
    int(unsafe { libc::syscall(libc::SYS_syncfs, descriptor) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn clock_gettime(clock: libc::clockid_t, time: *mut libc::timespec) -> c_int {
    if let Some(now) = clock::read(clock) {
        // SAFETY: the caller passes room for a time.
        unsafe { *time = now };
        return 0;
    }
    // SAFETY: the caller's arguments.
    int(unsafe { libc::syscall(libc::SYS_clock_gettime, clock, time) })
}

#[unsafe(no_mangle)]
unsafe extern "C" fn getrandom(buffer: *mut c_void, count: size_t, flags: c_uint) -> ssize_t {
    // SAFETY: the caller passes room for `count` bytes.
    let bytes = unsafe { std::slice::from_raw_parts_mut(buffer.cast::<u8>(), count) };
    if clock::random_bytes(bytes) || disk::random_bytes(bytes) {
        return ssize_t::try_from(count).unwrap_or(0);
    }
    // SAFETY: the caller's arguments.
    unsafe { size(libc::syscall(libc::SYS_getrandom, buffer, count, flags)) }
}
