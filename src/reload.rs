//! Notices that files changed: by their content, looked at every few seconds. So it does not matter
//! how they changed: in place, by renaming, or by Kubernetes swapping the link of a whole folder;
//! and no event is lost.

use sha2::{Digest, Sha256};
use std::{fs, path::PathBuf, time::Duration};
use zeroize::Zeroizing;

/// How often files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Files that are looked at together.
pub struct FileWatch {
    files: Vec<PathBuf>,
    /// The content that was loaded.
    loaded: ContentHash,
}

type ContentHash = [u8; 32];

impl FileWatch {
    /// Begins with the files as they are: to be made before they are loaded, so that no change
    /// falls in between.
    pub fn new(files: Vec<PathBuf>) -> Self {
        let loaded = content_hash(&files);
        Self { files, loaded }
    }

    /// Waits until the files have changed and then stood still for one look: two files that belong
    /// together, such as a certificate and its key, are seldom written at the same moment.
    pub async fn changed(&mut self) {
        let mut seen = self.loaded;
        loop {
            tokio::time::sleep(LOOK_INTERVAL).await;
            let files = self.files.clone();
            // Fails only when the process is about to end.
            let Ok(now) = tokio::task::spawn_blocking(move || content_hash(&files)).await else { continue };
            if now == seen && now != self.loaded {
                self.loaded = now;
                return;
            }
            seen = now;
        }
    }
}

/// A file that cannot be read is another content than an empty one.
fn content_hash(files: &[PathBuf]) -> ContentHash {
    let mut hash = Sha256::new();
    for file in files {
        match fs::read(file).map(Zeroizing::new) {
            Ok(content) => hash.update(Sha256::digest(&*content)),
            Err(error) => hash.update(error.kind().to_string()),
        }
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        os::unix::fs::symlink,
        sync::{
            Arc,
            atomic::{AtomicUsize, Ordering},
        },
    };

    async fn looks(count: u32) {
        tokio::time::sleep(LOOK_INTERVAL * count).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_swapped_link_is_a_change_and_a_half_written_one_is_not_yet() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for version in ["v1", "v2"] {
            fs::create_dir(path(version)).unwrap();
            fs::write(path(version).join("cert"), version).unwrap();
        }
        symlink("v1", path("..data")).unwrap();
        symlink("..data/cert", path("cert")).unwrap();
        fs::write(path("key"), "k1").unwrap();

        let reloads = Arc::new(AtomicUsize::new(0));
        let mut watch = FileWatch::new(vec![path("cert"), path("key")]);
        let counted = Arc::clone(&reloads);
        let task = tokio::spawn(async move {
            loop {
                watch.changed().await;
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        looks(3).await;
        assert_eq!(reloads.load(Ordering::SeqCst), 0);

        symlink("v2", path("..next")).unwrap();
        fs::rename(path("..next"), path("..data")).unwrap();
        looks(4).await;
        assert_eq!(reloads.load(Ordering::SeqCst), 1);

        fs::remove_file(path("key")).unwrap();
        looks(1).await;
        fs::write(path("key"), "k2").unwrap();
        looks(4).await;
        assert_eq!(reloads.load(Ordering::SeqCst), 2, "the file that was away for a moment was no change of its own");
        task.abort();
    }
}
