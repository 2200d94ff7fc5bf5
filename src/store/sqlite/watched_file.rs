//! Whether the database at its path is still the one that was opened.
//!
//! A file that is removed or replaced under the process stays open, and takes commits that nobody
//! will ever read: without a look at the path they would be acknowledged and lost.

use super::super::{Error, ErrorKind, Refusal};
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

/// The database's files as they were when it was opened.
#[derive(Clone, Debug)]
pub(super) struct WatchedFile {
    database: (PathBuf, Inode),
    /// Commits go here first, and stay until the next checkpoint.
    log: (PathBuf, Inode),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Inode {
    device: u64,
    number: u64,
}

impl WatchedFile {
    /// Of a database in WAL mode that is open: its log is there.
    pub(super) fn of_open(path: &Path) -> io::Result<Self> {
        // SQLite puts the log beside the file itself, not beside a link to it.
        let mut log = path.canonicalize()?.into_os_string();
        log.push("-wal");
        let log = PathBuf::from(log);
        Ok(Self { database: (path.to_owned(), inode(path)?.0), log: (log.clone(), inode(&log)?.0) })
    }

    /// Two looks at the file system, without reading a file: cheap enough for every commit.
    pub(super) fn check(&self, operation: &'static str) -> Result<(), Error> {
        for (path, opened) in [&self.database, &self.log] {
            let gone = |what: &str| {
                let path = path.display();
                let advice =
                    "put the file back that was there, or restart the gateway to use the one that is there now";
                Error::new(operation, ErrorKind::Refused(Refusal::FileGone), format!("{path} {what}: {advice}"))
            };
            let (found, is_writable) = match inode(path) {
                Ok(found) => found,
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(gone("was removed")),
                Err(error) => return Err(Error::new(operation, ErrorKind::Transient, error)),
            };
            if found != *opened {
                return Err(gone("was replaced"));
            }
            if !is_writable {
                let problem = format!("{} was made read-only", path.display());
                return Err(Error::new(operation, ErrorKind::Refused(Refusal::ReadOnly), problem));
            }
        }
        Ok(())
    }
}

fn inode(path: &Path) -> io::Result<(Inode, bool)> {
    let metadata = fs::metadata(path)?;
    let inode = Inode { device: metadata.dev(), number: metadata.ino() };
    Ok((inode, !metadata.permissions().readonly()))
}
