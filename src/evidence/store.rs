//! The evidence store: puts, gets, deletes and finds sealed blobs.

use super::{
    seal::{CHUNK_BYTES, ChunkCipher, Cutter, DataKey, DoesNotOpen, FORMAT, SEALED_CHUNK_BYTES},
    upload::Upload,
};
use crate::vault::{Keyring, Place, keyring};
use bytes::Bytes;
use futures_util::{
    StreamExt, TryStreamExt, future,
    stream::{self, BoxStream, Stream},
};
use jiff::Timestamp;
use object_store::{
    ObjectStore, ObjectStoreExt, aws::AmazonS3Builder, local::LocalFileSystem, path::Path, prefix::PrefixStore,
};
use sha2::{Digest, Sha256};
use std::{
    error::Error,
    fmt, fs, io,
    ops::Range,
    path::{Path as FolderPath, PathBuf},
    pin::pin,
    sync::Arc,
    time::SystemTime,
};

/// Sealed blobs in a folder or a bucket.
#[derive(Clone)]
pub struct EvidenceStore {
    pub(super) objects: Arc<dyn ObjectStore>,
    /// Where unfinished uploads are left behind by a crash; a bucket keeps its own.
    folder: Option<PathBuf>,
}

/// Names a blob: 1 to 256 characters of a-z, 0-9, `-` and `_`, in segments separated by `/`. It
/// tells of nothing but ids.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BlobKey(Path);

/// Result of [`EvidenceStore::put`].
pub struct StoredBlob {
    /// Of the plaintext.
    pub size: u64,
    /// Of the plaintext.
    pub sha256: [u8; 32],
    /// Opens the blob, together with the keyring. It is nowhere else.
    pub sealed_key: Vec<u8>,
}

/// An evidence store that cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("is neither file:PATH nor s3://BUCKET or s3://BUCKET/PREFIX")]
    Url,
    #[error("the folder cannot be made: {0}")]
    Folder(#[source] io::Error),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The folder or the bucket could not serve.
#[derive(Debug, thiserror::Error)]
#[error("evidence: {operation} failed: {source}")]
pub struct StoreError {
    pub operation: &'static str,
    #[source]
    pub source: Box<dyn Error + Send + Sync>,
}

/// A blob that was not stored.
#[derive(Debug, thiserror::Error)]
pub enum PutError<E: Error + 'static> {
    /// What was to be stored ended in an error of its own.
    #[error("evidence: its source failed: {0}")]
    Source(#[source] E),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A blob that cannot be read, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum GetError {
    #[error("evidence: there is no such blob")]
    Absent,
    #[error("evidence: the key of the blob: {0}")]
    Key(#[from] keyring::OpenError),
    #[error("evidence: the blob has format {0}, and this version of the gateway reads format {FORMAT}")]
    Format(u8),
    #[error("evidence: the blob was cut or altered, or is another one than the key is for")]
    Altered,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl EvidenceStore {
    /// Opens `file:PATH`, a folder that is made where it is missing, for its owner only; or
    /// `s3://BUCKET/PREFIX`, with endpoint, region and credentials from the usual `AWS_*` variables
    /// of the environment. A bucket is not connected to before it is used.
    ///
    /// # Errors
    /// When the URL is neither, the folder cannot be made, or the environment makes no sense.
    pub fn open(url: &str) -> Result<Self, OpenError> {
        if let Some(path) = url.strip_prefix("file:") {
            Self::open_folder(FolderPath::new(path))
        } else if let Some(rest) = url.strip_prefix("s3://") {
            let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            Self::open_bucket(bucket, prefix)
        } else {
            Err(OpenError::Url)
        }
    }

    /// Checks a URL that [`Self::open`] takes, without making a folder or connecting to a bucket.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn check_url(url: &str) -> Result<(), OpenError> {
        match url.strip_prefix("file:") {
            Some("") => Err(OpenError::Url),
            Some(_) => Ok(()),
            None => Self::open(url).map(drop),
        }
    }

    fn open_folder(path: &FolderPath) -> Result<Self, OpenError> {
        if path.as_os_str().is_empty() {
            return Err(OpenError::Url);
        }
        make_folder(path).map_err(OpenError::Folder)?;
        let folder = path.canonicalize().map_err(OpenError::Folder)?;
        // Synced like the rows that tell of the blobs: else a power cut could keep the row and lose
        // the blob.
        let objects = LocalFileSystem::new_with_prefix(&folder)
            .map_err(|error| StoreError::new("open", error))?
            .with_fsync(true)
            .with_automatic_cleanup(true);
        Ok(Self { objects: Arc::new(objects), folder: Some(folder) })
    }

    fn open_bucket(bucket: &str, prefix: &str) -> Result<Self, OpenError> {
        let is_name = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-".contains(&byte);
        if bucket.is_empty() || !bucket.bytes().all(is_name) {
            return Err(OpenError::Url);
        }
        let prefix = Path::parse(prefix.trim_end_matches('/')).map_err(|_| OpenError::Url)?;
        let bucket = AmazonS3Builder::from_env()
            .with_bucket_name(bucket)
            // One blob at a time is deleted here, and not every S3-compatible service has the
            // request for many.
            .with_disable_bulk_delete(true)
            .build()
            .map_err(|error| StoreError::new("open", error))?;
        Ok(Self { objects: Arc::new(PrefixStore::new(bucket, prefix)), folder: None })
    }

    /// Looks whether the folder or bucket can be listed.
    ///
    /// # Errors
    /// When it cannot. A bucket that does not answer is asked again for some minutes.
    pub async fn check(&self) -> Result<(), StoreError> {
        let first = self.objects.list(None).next().await.transpose();
        first.map(drop).map_err(|error| StoreError::new("list", error))
    }

    /// Seals `source` while it arrives and stores it under `key`. The blob appears when it is
    /// whole; memory holds some 5 MiB of it, whatever its size. The data key is sealed for `place`.
    ///
    /// A blob that was there is replaced, and the key that was sealed for it opens nothing any
    /// more; of two puts at once the later to finish stays. So each try should have a key of its
    /// own.
    ///
    /// # Errors
    /// When `source` or the store fails, or the returned future is dropped: then nothing is under
    /// `key`. One exception: when the store's last answer is lost, the blob may be there. Its data
    /// key is not, so it is an orphan for a sweep to find.
    pub async fn put<E: Error + 'static>(
        &self,
        keyring: &Keyring,
        place: Place<'_>,
        key: &BlobKey,
        source: impl Stream<Item = Result<Bytes, E>>,
    ) -> Result<StoredBlob, PutError<E>> {
        let data_key = DataKey::generate();
        let cipher = ChunkCipher::new(&data_key, key.as_str());
        let mut upload = Upload::new(&*self.objects, &key.0);
        let (size, sha256) = match send_sealed(&mut upload, cipher, source).await {
            Ok(sent) => sent,
            Err(error) => {
                upload.abort().await;
                return Err(error);
            }
        };
        upload.finish().await.map_err(put_failed)?;
        Ok(StoredBlob { size, sha256, sealed_key: data_key.seal(keyring, place) })
    }

    /// Reads a blob back: plaintext in pieces of at most 64 KiB, none of which is handed out before
    /// it is verified. A stream without an error is the whole blob, unaltered.
    ///
    /// # Errors
    /// When the key does not open or there is no such blob; and, from the stream, when the blob was
    /// cut or altered, or the store fails on the way. An error ends the stream.
    pub async fn get(
        &self,
        keyring: &Keyring,
        place: Place<'_>,
        key: &BlobKey,
        sealed_key: &[u8],
    ) -> Result<BoxStream<'static, Result<Bytes, GetError>>, GetError> {
        let data_key = DataKey::open(keyring, place, sealed_key)?;
        let cipher = ChunkCipher::new(&data_key, key.as_str());
        let sealed = match self.objects.get(&key.0).await {
            Ok(object) => object.into_stream(),
            Err(object_store::Error::NotFound { .. }) => return Err(GetError::Absent),
            Err(error) => return Err(get_failed(error)),
        };
        let mut reading =
            Reading { sealed, piece: Bytes::new(), cutter: Some(Cutter::new(SEALED_CHUNK_BYTES)), cipher };
        reading.check_format().await?;
        let next = |mut reading: Reading| async move {
            let chunk = reading.next_chunk().await?;
            Ok(chunk.map(|chunk| (chunk, reading)))
        };
        Ok(stream::try_unfold(reading, next).boxed())
    }

    /// Deletes a blob. One that is not there was deleted before.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn delete(&self, key: &BlobKey) -> Result<(), StoreError> {
        match self.objects.delete(&key.0).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(StoreError::new("delete", error)),
        }
    }

    /// The blobs that were written in a time, by the store's clock and to the second, in no order.
    /// What is there but was not written by a gateway is left out.
    ///
    /// # Errors
    /// From the stream, when the store fails.
    pub fn written(&self, time: Range<Timestamp>) -> BoxStream<'static, Result<BlobKey, StoreError>> {
        let seconds = time.start.as_second()..time.end.as_second();
        self.objects
            .list(None)
            .map_err(|error| StoreError::new("list", error))
            .try_filter_map(move |object| {
                let is_of_time = seconds.contains(&object.last_modified.timestamp());
                future::ready(Ok(BlobKey::parse(object.location.as_ref()).ok().filter(|_| is_of_time)))
            })
            .boxed()
    }

    /// Removes what a crash left of uploads that were last written to before `cutoff`, and says how
    /// many there were. For a folder only: a bucket does it by a lifecycle rule of its own
    /// (`AbortIncompleteMultipartUpload`).
    ///
    /// # Errors
    /// When the folder cannot be read or written.
    pub async fn remove_unfinished(&self, cutoff: Timestamp) -> Result<usize, StoreError> {
        let Some(folder) = self.folder.clone() else { return Ok(0) };
        let failed = |error| StoreError::new("remove unfinished uploads", error);
        match tokio::task::spawn_blocking(move || remove_unfinished_in(&folder, cutoff)).await {
            Ok(removed) => removed.map_err(failed),
            Err(panicked) => Err(failed(io::Error::other(panicked))),
        }
    }
}

async fn send_sealed<E: Error + 'static>(
    upload: &mut Upload<'_>,
    mut cipher: ChunkCipher,
    source: impl Stream<Item = Result<Bytes, E>>,
) -> Result<(u64, [u8; 32]), PutError<E>> {
    let mut source = pin!(source);
    let (mut size, mut hash) = (0, Sha256::new());
    upload.write(Bytes::from_static(&[FORMAT])).await.map_err(put_failed)?;
    let mut cutter = Cutter::new(CHUNK_BYTES);
    while let Some(piece) = source.next().await {
        let mut piece = piece.map_err(PutError::Source)?;
        size += piece.len() as u64;
        hash.update(&piece);
        while let Some(chunk) = cutter.cut(&mut piece) {
            upload.write(cipher.seal(chunk, false)).await.map_err(put_failed)?;
        }
    }
    upload.write(cipher.seal(cutter.rest(), true)).await.map_err(put_failed)?;
    Ok((size, hash.finalize().into()))
}

/// A blob that is being read.
struct Reading {
    sealed: BoxStream<'static, object_store::Result<Bytes>>,
    piece: Bytes,
    /// None when the last chunk was handed out.
    cutter: Option<Cutter>,
    cipher: ChunkCipher,
}

impl Reading {
    async fn check_format(&mut self) -> Result<(), GetError> {
        while self.piece.is_empty() {
            self.piece = self.sealed.try_next().await.map_err(get_failed)?.ok_or(GetError::Altered)?;
        }
        let format = self.piece.split_to(1)[0];
        if format == FORMAT { Ok(()) } else { Err(GetError::Format(format)) }
    }

    async fn next_chunk(&mut self) -> Result<Option<Bytes>, GetError> {
        let altered = |DoesNotOpen| GetError::Altered;
        while let Some(cutter) = &mut self.cutter {
            if let Some(chunk) = cutter.cut(&mut self.piece) {
                return self.cipher.open(chunk, false).map(Some).map_err(altered);
            }
            if let Some(piece) = self.sealed.try_next().await.map_err(get_failed)? {
                self.piece = piece;
            } else if let Some(cutter) = self.cutter.take() {
                let last = self.cipher.open(cutter.rest(), true).map_err(altered)?;
                return Ok(Some(last).filter(|last| !last.is_empty()));
            }
        }
        Ok(None)
    }
}

impl BlobKey {
    const MAX_CHARS: usize = 256;

    /// Reads a key in the one form that we write.
    ///
    /// # Errors
    /// The fault.
    pub fn parse(text: &str) -> Result<Self, String> {
        let is_char = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        let is_segment = |segment: &str| !segment.is_empty() && segment.bytes().all(is_char);
        if text.len() > Self::MAX_CHARS || !text.split('/').all(is_segment) {
            return Err(format!(
                "is not a key of a blob: 1 to {} characters of a-z, 0-9, '-' and '_', in segments separated by '/'",
                Self::MAX_CHARS
            ));
        }
        Ok(Self(Path::from(text)))
    }

    /// The key as the store knows it.
    pub fn as_str(&self) -> &str {
        self.0.as_ref()
    }
}

impl fmt::Display for BlobKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl StoreError {
    pub(super) fn new(operation: &'static str, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { operation, source: source.into() }
    }
}

fn put_failed<E: Error + 'static>(error: object_store::Error) -> PutError<E> {
    PutError::Store(StoreError::new("put", error))
}

fn get_failed(error: object_store::Error) -> GetError {
    GetError::Store(StoreError::new("get", error))
}

#[cfg(unix)]
fn make_folder(path: &FolderPath) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

#[cfg(not(unix))]
fn make_folder(path: &FolderPath) -> io::Result<()> {
    fs::create_dir_all(path)
}

/// An upload to a folder goes to a file beside its blob, named like it with `#` and a number added,
/// which is renamed at the end.
fn remove_unfinished_in(folder: &FolderPath, cutoff: Timestamp) -> io::Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        // What is gone meanwhile was finished, or swept by another process.
        let Some(metadata) = unless_gone(entry.metadata())? else { continue };
        if metadata.is_dir() {
            removed += unless_gone(remove_unfinished_in(&entry.path(), cutoff))?.unwrap_or(0);
        } else if is_unfinished(&entry.file_name().to_string_lossy()) && is_older(metadata.modified()?, cutoff) {
            removed += usize::from(unless_gone(fs::remove_file(entry.path()))?.is_some());
        }
    }
    Ok(removed)
}

fn is_unfinished(file_name: &str) -> bool {
    file_name.split_once('#').is_some_and(|(blob, number)| {
        BlobKey::parse(blob).is_ok() && !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn is_older(modified: SystemTime, cutoff: Timestamp) -> bool {
    let second = modified.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |age| age.as_secs());
    i64::try_from(second).is_ok_and(|second| second < cutoff.as_second())
}

fn unless_gone<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::{Engine, prelude::BASE64_STANDARD};
    use object_store::memory::InMemory;
    use proptest::prelude::*;
    use std::time::Duration;
    use tempfile::TempDir;

    const PLACE: Place<'_> = Place { table: "evidence", row: "r1", column: "sealed_key", bound: &[] };
    /// More than a part, so that it takes more than one request.
    const LARGE: usize = 5_500_001;

    fn ring() -> Keyring {
        Keyring::parse(&format!("k1:{}", BASE64_STANDARD.encode([1; 32]))).unwrap()
    }

    fn key(text: &str) -> BlobKey {
        BlobKey::parse(text).unwrap()
    }

    fn in_memory() -> EvidenceStore {
        EvidenceStore { objects: Arc::new(InMemory::new()), folder: None }
    }

    fn in_folder() -> (EvidenceStore, TempDir) {
        let folder = TempDir::new().unwrap();
        (EvidenceStore::open(&format!("file:{}", folder.path().display())).unwrap(), folder)
    }

    fn content(size: usize) -> Vec<u8> {
        (0..size).map(|at| (at % 251) as u8).collect()
    }

    fn pieces(content: &[u8], size: usize) -> impl Stream<Item = io::Result<Bytes>> {
        stream::iter(content.chunks(size).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect::<Vec<_>>())
    }

    async fn put(store: &EvidenceStore, name: &str, content: &[u8]) -> StoredBlob {
        store.put(&ring(), PLACE, &key(name), pieces(content, 10_007)).await.unwrap()
    }

    async fn get(store: &EvidenceStore, name: &str, sealed_key: &[u8]) -> Result<Vec<u8>, GetError> {
        let mut chunks = store.get(&ring(), PLACE, &key(name), sealed_key).await?;
        let mut whole = Vec::new();
        while let Some(chunk) = chunks.try_next().await? {
            assert!((1..=CHUNK_BYTES).contains(&chunk.len()));
            whole.extend_from_slice(&chunk);
        }
        assert!(chunks.next().await.is_none());
        Ok(whole)
    }

    async fn sealed(store: &EvidenceStore, name: &str) -> Vec<u8> {
        store.objects.get(&key(name).0).await.unwrap().bytes().await.unwrap().to_vec()
    }

    async fn overwrite(store: &EvidenceStore, name: &str, sealed: Vec<u8>) {
        store.objects.put(&key(name).0, sealed.into()).await.unwrap();
    }

    async fn listed(store: &EvidenceStore, cutoff: Timestamp) -> Vec<BlobKey> {
        let mut keys: Vec<_> = store.written(Timestamp::MIN..cutoff).try_collect().await.unwrap();
        keys.sort();
        keys
    }

    fn files(folder: &FolderPath) -> Vec<PathBuf> {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { files.extend(self::files(&path)) } else { files.push(path) }
        }
        files
    }

    #[tokio::test]
    async fn every_size_comes_back() {
        let (store, _folder) = in_folder();
        for size in [0, 1, 65_535, 65_536, 65_537, 80 * 65_536, LARGE] {
            let content = content(size);
            let stored = put(&store, "v1/1", &content).await;
            assert_eq!((stored.size, stored.sha256), (size as u64, Sha256::digest(&content).into()), "{size}");
            assert!(get(&store, "v1/1", &stored.sealed_key).await.unwrap() == content, "{size}");
        }
    }

    #[tokio::test]
    async fn what_is_stored_is_sealed() {
        let store = in_memory();
        put(&store, "v1/1", &[7; 1000]).await;
        assert!(!sealed(&store, "v1/1").await.windows(8).any(|window| window == [7; 8]));
    }

    #[tokio::test]
    async fn every_altered_region_is_found() {
        let store = in_memory();
        let size = 2 * CHUNK_BYTES + 1000;
        let stored = put(&store, "v1/1", &content(size)).await;
        let whole = sealed(&store, "v1/1").await;
        // The format stands before the first chunk.
        let in_chunk = [1, CHUNK_BYTES / 2, CHUNK_BYTES - 1, CHUNK_BYTES, SEALED_CHUNK_BYTES - 1];
        let regions = in_chunk.iter().flat_map(|at| [*at, SEALED_CHUNK_BYTES + at]);
        for at in regions.chain([1 + 2 * SEALED_CHUNK_BYTES, whole.len() - 17, whole.len() - 16, whole.len() - 1]) {
            let mut altered = whole.clone();
            altered[at] ^= 1;
            overwrite(&store, "v1/1", altered).await;
            assert!(matches!(get(&store, "v1/1", &stored.sealed_key).await, Err(GetError::Altered)), "byte {at}");
        }
        overwrite(&store, "v1/1", whole.clone()).await;
        assert!(get(&store, "v1/1", &stored.sealed_key).await.is_ok());
        overwrite(&store, "v1/1", [&[FORMAT + 1], &whole[1..]].concat()).await;
        assert!(matches!(get(&store, "v1/1", &stored.sealed_key).await, Err(GetError::Format(2))));
    }

    #[tokio::test]
    async fn a_blob_that_is_cut_extended_or_reordered_is_refused() {
        let store = in_memory();
        for size in [2 * CHUNK_BYTES, 2 * CHUNK_BYTES + 1000] {
            let stored = put(&store, "v1/1", &content(size)).await;
            let whole = sealed(&store, "v1/1").await;
            let whole = &whole[1..];
            let chunks: Vec<&[u8]> = whole.chunks(SEALED_CHUNK_BYTES).collect();
            let forged: Vec<Vec<u8>> = vec![
                vec![],
                chunks[0].to_vec(),
                chunks[..chunks.len() - 1].concat(),
                whole[..whole.len() - 1].to_vec(),
                [whole, &[0]].concat(),
                [whole, chunks[0]].concat(),
                [whole, whole].concat(),
                [chunks[1], chunks[0], &chunks[2..].concat()].concat(),
                [chunks[0], chunks[0], &chunks[2..].concat()].concat(),
                chunks[1..].concat(),
            ];
            for (which, forged) in forged.into_iter().enumerate() {
                overwrite(&store, "v1/1", [&[FORMAT], &forged[..]].concat()).await;
                let read = get(&store, "v1/1", &stored.sealed_key).await;
                assert!(matches!(read, Err(GetError::Altered)), "size {size}, forgery {which}");
            }
        }
    }

    #[tokio::test]
    async fn what_was_verified_before_a_fault_is_handed_out_and_then_the_fault() {
        let store = in_memory();
        let stored = put(&store, "v1/1", &content(3 * CHUNK_BYTES)).await;
        let mut altered = sealed(&store, "v1/1").await;
        altered[1 + SEALED_CHUNK_BYTES] ^= 1;
        overwrite(&store, "v1/1", altered).await;
        let mut chunks = store.get(&ring(), PLACE, &key("v1/1"), &stored.sealed_key).await.unwrap();
        assert!(chunks.next().await.unwrap().unwrap() == content(CHUNK_BYTES));
        assert!(matches!(chunks.next().await, Some(Err(GetError::Altered))));
        assert!(chunks.next().await.is_none(), "the stream goes on after a fault");
    }

    #[tokio::test]
    async fn a_blob_opens_under_its_own_key_and_for_its_own_row_only() {
        let store = in_memory();
        let (first, second) = (put(&store, "v1/1", b"first").await, put(&store, "v1/2", b"second").await);
        assert!(matches!(get(&store, "v1/2", &first.sealed_key).await, Err(GetError::Altered)));
        let (blob_1, blob_2) = (sealed(&store, "v1/1").await, sealed(&store, "v1/2").await);
        overwrite(&store, "v1/1", blob_2).await;
        overwrite(&store, "v1/2", blob_1).await;
        assert!(matches!(get(&store, "v1/1", &first.sealed_key).await, Err(GetError::Altered)));
        // Swapped together with its key, a blob still knows its name.
        assert!(matches!(get(&store, "v1/1", &second.sealed_key).await, Err(GetError::Altered)));
        let elsewhere = Place { row: "r2", ..PLACE };
        let moved = store.get(&ring(), elsewhere, &key("v1/1"), &first.sealed_key).await.err();
        assert!(matches!(moved, Some(GetError::Key(keyring::OpenError::Refused))));
        assert!(matches!(get(&store, "v1/3", &first.sealed_key).await, Err(GetError::Absent)));
    }

    #[tokio::test]
    async fn the_later_of_two_puts_stays() {
        let (store, folder) = in_folder();
        let (earlier, later) = (put(&store, "v1/1", b"earlier").await, put(&store, "v1/1", b"later").await);
        assert_eq!(get(&store, "v1/1", &later.sealed_key).await.unwrap(), b"later");
        assert!(matches!(get(&store, "v1/1", &earlier.sealed_key).await, Err(GetError::Altered)));
        let (ring, name, content) = (ring(), key("v1/2"), content(LARGE));
        let both = tokio::join!(
            store.put(&ring, PLACE, &name, pieces(&content, 100_000)),
            store.put(&ring, PLACE, &name, pieces(&content, 70_000))
        );
        let keys = [both.0.unwrap().sealed_key, both.1.unwrap().sealed_key];
        let mut opened = 0;
        for sealed_key in keys {
            opened += usize::from(get(&store, "v1/2", &sealed_key).await.is_ok_and(|whole| whole == content));
        }
        assert_eq!((opened, files(folder.path()).len()), (1, 2));
    }

    #[tokio::test]
    async fn a_source_that_fails_leaves_nothing_and_what_was_there_stays() {
        let (store, folder) = in_folder();
        let earlier = put(&store, "v1/1", b"earlier").await;
        for name in ["v1/1", "v1/2"] {
            for size in [0, LARGE] {
                let content = content(size);
                let failing = pieces(&content, 50_000).chain(stream::iter([Err(io::Error::other("gone"))]));
                let error = store.put(&ring(), PLACE, &key(name), failing).await.err().unwrap();
                assert!(matches!(&error, PutError::Source(source) if source.to_string() == "gone"), "{error}");
                assert!(error.source().is_some());
            }
        }
        assert_eq!(get(&store, "v1/1", &earlier.sealed_key).await.unwrap(), b"earlier");
        assert_eq!(files(folder.path()).len(), 1);
    }

    #[tokio::test]
    async fn a_put_that_is_dropped_on_its_way_leaves_nothing() {
        let (store, folder) = in_folder();
        let (ring, name, content) = (ring(), key("v1/1"), content(LARGE));
        let (was_read, mut all_was_read) = tokio::sync::oneshot::channel();
        let mut was_read = Some(was_read);
        let endless = pieces(&content, 50_000).chain(stream::poll_fn(move |_| {
            was_read.take().map(|was_read| was_read.send(()));
            std::task::Poll::Pending
        }));
        let put = Box::pin(store.put(&ring, PLACE, &name, endless));
        tokio::select! {
            _ = put => panic!("the source does not end"),
            read = &mut all_was_read => read.unwrap(),
        }
        assert!(listed(&store, Timestamp::MAX).await.is_empty());
        // The clean-up runs on its own.
        let swept = async {
            while !files(folder.path()).is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), swept).await.expect("the upload is taken back");
    }

    #[tokio::test]
    async fn a_crash_in_the_middle_leaves_nothing_that_a_sweep_does_not_find() {
        let (store, folder) = in_folder();
        put(&store, "v1/1", b"whole").await;
        // As a killed process leaves them.
        for name in ["v1/1#1", "v1/2#12", "v1/note.txt", "v1/#1", "v1/3#x"] {
            fs::write(folder.path().join(name), b"half").unwrap();
        }
        assert_eq!(listed(&store, Timestamp::MAX).await, [key("v1/1")]);
        assert_eq!(store.remove_unfinished(Timestamp::UNIX_EPOCH).await.unwrap(), 0);
        assert_eq!(store.remove_unfinished(Timestamp::MAX).await.unwrap(), 2);
        assert_eq!(files(folder.path()).len(), 4, "what is not ours stays");
        assert_eq!(in_memory().remove_unfinished(Timestamp::MAX).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn deleting_twice_is_deleting_once() {
        let (store, folder) = in_folder();
        let stored = put(&store, "v1/1", b"whole").await;
        store.delete(&key("v1/1")).await.unwrap();
        store.delete(&key("v1/1")).await.unwrap();
        assert!(matches!(get(&store, "v1/1", &stored.sealed_key).await, Err(GetError::Absent)));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "an empty folder is left behind");
    }

    #[tokio::test]
    async fn lists_what_is_older_than_a_cutoff() {
        for store in [in_memory(), in_folder().0] {
            for name in ["v1/1", "v1/2", "v2/1"] {
                put(&store, name, b"whole").await;
            }
            assert_eq!(listed(&store, Timestamp::MAX).await, [key("v1/1"), key("v1/2"), key("v2/1")]);
            assert_eq!(listed(&store, Timestamp::UNIX_EPOCH).await, []);
        }
    }

    #[test]
    fn urls_are_a_folder_or_a_bucket() {
        let parent = TempDir::new().unwrap();
        let url = |path: &str| format!("file:{}/{path}", parent.path().display());
        EvidenceStore::open(&url("a/b")).unwrap();
        EvidenceStore::open(&url("a/b")).unwrap();
        fs::write(parent.path().join("file"), b"").unwrap();
        assert!(matches!(EvidenceStore::open(&url("file/b")), Err(OpenError::Folder(_))));
        for bucket in ["s3://bucket", "s3://bucket/", "s3://my.bucket-1/prefix/deeper/"] {
            assert!(EvidenceStore::open(bucket).is_ok(), "{bucket}");
        }
        for url in ["", "file:", "s3://", "s3:///prefix", "s3://Bucket", "s3://bucket/a//b", "/data", "https://bucket"]
        {
            assert!(matches!(EvidenceStore::open(url), Err(OpenError::Url)), "{url}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_new_folder_is_its_owners_only() {
        use std::os::unix::fs::PermissionsExt;
        let parent = TempDir::new().unwrap();
        EvidenceStore::open(&format!("file:{}/a/b", parent.path().display())).unwrap();
        for folder in ["a", "a/b"] {
            let mode = fs::metadata(parent.path().join(folder)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o700, "{folder}");
        }
    }

    #[test]
    fn keys_cannot_leave_the_store() {
        for text in ["a", "0190b5f0-0000-7000-8000-000000000000/1", "a/b/c_d"] {
            assert_eq!(key(text).as_str(), text);
        }
        let long = "a".repeat(257);
        for text in ["", "/", "/a", "a/", "a//b", "..", "a/../b", "a.b", "A", "a#1", "a%2f", "a\\b", "漢", &long] {
            assert!(BlobKey::parse(text).is_err(), "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        #[test]
        fn comes_back_however_it_arrives_and_is_never_silently_cut(
            size in 0usize..200_000, piece in 1usize..100_000, cut_at in 0usize..400_000
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let (store, content) = (in_memory(), content(size));
                let stored = store.put(&ring(), PLACE, &key("v1/1"), pieces(&content, piece)).await.unwrap();
                assert!(get(&store, "v1/1", &stored.sealed_key).await.unwrap() == content);
                let mut sealed = sealed(&store, "v1/1").await;
                sealed.truncate(cut_at % sealed.len());
                overwrite(&store, "v1/1", sealed).await;
                assert!(matches!(get(&store, "v1/1", &stored.sealed_key).await, Err(GetError::Altered)));
            });
        }
    }
}
