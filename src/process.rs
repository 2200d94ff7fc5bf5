//! Limits of the process itself: open files, core dumps, permissions of new files.

use rustix::{
    fs::Mode,
    io,
    process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit, umask},
};

/// Raises the number of open files to what the system allows. Gives it; None: there is no limit.
pub fn raise_open_files() -> Option<u64> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(error = %error, "the limit of open files could not be raised");
    }
    open_files()
}

/// How many files may be open; None: any number.
pub fn open_files() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Leaves no core dump: it would hold keys, tokens and names. Nor may other processes of the same
/// user look into the memory.
///
/// # Errors
/// When the system refuses.
pub fn forbid_core_dumps() -> io::Result<()> {
    let maximum = getrlimit(Resource::Core).maximum;
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum })?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
}

/// Files that the process makes are its user's alone.
pub fn keep_files_private() {
    umask(Mode::RWXG | Mode::RWXO);
}
