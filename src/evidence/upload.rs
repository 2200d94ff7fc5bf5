//! Writes a blob that appears whole or not at all.

use bytes::Bytes;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayloadMut, Result, path::Path};
use std::mem;
use tokio::runtime::Handle;

/// What is kept back before it is sent. S3 refuses parts of less than 5 MiB, except the last, and
/// some services parts of different sizes.
const PART_BYTES: usize = 5 * 1024 * 1024;

/// A blob on its way. Up to one part it is a single request; above, parts that become visible
/// together. Dropped before its end, it takes back what was sent.
pub(super) struct Upload<'a> {
    objects: &'a dyn ObjectStore,
    path: &'a Path,
    part: PutPayloadMut,
    sent: Option<Box<dyn MultipartUpload>>,
}

impl<'a> Upload<'a> {
    pub(super) fn new(objects: &'a dyn ObjectStore, path: &'a Path) -> Self {
        Self { objects, path, part: PutPayloadMut::new(), sent: None }
    }

    /// Adds a chunk, and waits until full parts are sent: memory holds one part.
    pub(super) async fn write(&mut self, mut chunk: Bytes) -> Result<()> {
        while !chunk.is_empty() {
            if self.part.content_length() == PART_BYTES {
                self.send_part().await?;
            }
            let room = PART_BYTES - self.part.content_length();
            self.part.push(chunk.split_to(room.min(chunk.len())));
        }
        Ok(())
    }

    /// Makes the blob visible, in place of one that was there. After an error it may be visible all
    /// the same: the answer may have been lost, and not the request.
    pub(super) async fn finish(mut self) -> Result<()> {
        if self.sent.is_none() {
            let whole = mem::take(&mut self.part).freeze();
            self.objects.put(self.path, whole).await?;
            return Ok(());
        }
        if let Err(error) = self.complete().await {
            self.abort().await;
            return Err(error);
        }
        self.sent = None;
        Ok(())
    }

    /// Takes back what was sent.
    pub(super) async fn abort(mut self) {
        if let Some(mut sent) = self.sent.take() {
            // It is not visible, and is found by the sweep of unfinished uploads.
            let _best_effort = sent.abort().await;
        }
    }

    async fn send_part(&mut self) -> Result<()> {
        let part = mem::take(&mut self.part).freeze();
        let upload = match &mut self.sent {
            Some(upload) => upload,
            None => self.sent.insert(self.objects.put_multipart(self.path).await?),
        };
        upload.put_part(part).await
    }

    async fn complete(&mut self) -> Result<()> {
        self.send_part().await?;
        if let Some(upload) = &mut self.sent {
            upload.complete().await?;
        }
        Ok(())
    }
}

impl Drop for Upload<'_> {
    fn drop(&mut self) {
        if let Some(mut sent) = self.sent.take()
            && let Ok(runtime) = Handle::try_current()
        {
            runtime.spawn(async move { sent.abort().await });
        }
    }
}
