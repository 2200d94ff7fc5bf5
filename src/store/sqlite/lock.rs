//! One process, one database.

use super::super::{Error, ErrorKind, Refusal};
use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// A process id has fewer bytes.
const MAX_BYTES: u64 = 32;

/// A lock of the operating system on a file beside the database. It ends with the process, however
/// that ends; the file stays.
pub(super) struct ProcessLock {
    /// Held as long as it is open.
    _file: File,
}

impl ProcessLock {
    /// Takes the lock of the database in `path`, and writes this process's id for the next that
    /// tries.
    pub(super) fn take(path: &Path) -> Result<Self, Error> {
        let unusable = |error: io::Error| Error::new("lock", ErrorKind::Refused(Refusal::CannotOpen), error);
        // Beside the file itself, not beside a link to it. It may not be there yet.
        let mut lock = path.canonicalize().unwrap_or_else(|_| path.to_owned()).into_os_string();
        lock.push("-lock");
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).mode(0o600).open(lock).map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                file.take(MAX_BYTES).read_to_string(&mut holder).map_err(unusable)?;
                let problem = format!(
                    "process {} has the database open: stop it first. SQLite is for one process; a new one starts when the old \
                     one has ended",
                    holder.trim()
                );
                return Err(Error::new("lock", ErrorKind::Refused(Refusal::InUse), problem));
            }
            Err(TryLockError::Error(error)) => return Err(unusable(error)),
        }
        let write_id = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write_id(&mut file).map_err(unusable)?;
        Ok(Self { _file: file })
    }
}
