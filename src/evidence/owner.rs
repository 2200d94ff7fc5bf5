//! Whose evidence it is: a marker at the root of the folder or bucket names the store that it
//! belongs to.

use super::{EvidenceStore, StoreError};
use crate::domain::store_identity::StoreIdentity;
use object_store::{ObjectStoreExt, path::Path};

/// Cannot be the key of a blob: those have no dots.
const MARKER: &str = "faceid-gateway.store";
/// Before the identity, for a person that opens the file.
const PREFIX: &str = "evidence of the faceid-gateway store ";
/// A marker has fewer.
const MAX_BYTES: u64 = 256;

/// How a store stands to evidence that is not another store's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ownership {
    Ours,
    /// Ours, marked before the store was restored from a backup.
    OursOfEarlierEpoch,
    Unmarked,
}

/// Evidence that must not be touched.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    #[error(
        "the evidence belongs to the store {owner}, and store.url is the store {store}: put back the database that belongs \
         to the evidence, or give evidence.url a new, empty place"
    )]
    OtherStore { owner: StoreIdentity, store: StoreIdentity },
    #[error(
        "the evidence was last used by the store {owner}, and store.url is {store}, a copy from before a restore: put back \
         the restored database, or restore this copy with a restore of its own"
    )]
    LaterEpoch { owner: StoreIdentity, store: StoreIdentity },
    #[error("{MARKER} at the root of the evidence cannot be read: put it back from a backup of the evidence")]
    UnreadableMarker,
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl EvidenceStore {
    /// Whether the evidence is `store`'s, by the marker at its root.
    ///
    /// # Errors
    /// When it is another store's, or the folder or bucket fails.
    pub async fn check_owner(&self, store: StoreIdentity) -> Result<Ownership, OwnerError> {
        match self.owner().await? {
            None => Ok(Ownership::Unmarked),
            Some(owner) if owner.id != store.id => Err(OwnerError::OtherStore { owner, store }),
            Some(owner) if owner.epoch > store.epoch => Err(OwnerError::LaterEpoch { owner, store }),
            Some(owner) if owner.epoch < store.epoch => Ok(Ownership::OursOfEarlierEpoch),
            Some(_) => Ok(Ownership::Ours),
        }
    }

    /// Marks the evidence as `store`'s.
    ///
    /// # Errors
    /// When the folder or bucket fails.
    pub async fn set_owner(&self, store: StoreIdentity) -> Result<(), StoreError> {
        let marker = format!("{PREFIX}{store}\n");
        let put = self.objects.put(&Path::from(MARKER), marker.into()).await;
        put.map(drop).map_err(|error| StoreError::new("mark", error))
    }

    async fn owner(&self) -> Result<Option<StoreIdentity>, OwnerError> {
        let failed = |error| StoreError::new("read the marker", error);
        let found = match self.objects.get(&Path::from(MARKER)).await {
            Ok(found) => found,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(failed(error).into()),
        };
        if found.meta.size > MAX_BYTES {
            return Err(OwnerError::UnreadableMarker);
        }
        let bytes = found.bytes().await.map_err(failed)?;
        let text = std::str::from_utf8(&bytes).ok().and_then(|text| text.strip_prefix(PREFIX));
        text.and_then(|text| StoreIdentity::parse(text.trim_end())).map(Some).ok_or(OwnerError::UnreadableMarker)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::BlobKey;
    use tempfile::TempDir;

    fn in_folder() -> (EvidenceStore, TempDir) {
        let folder = TempDir::new().unwrap();
        (EvidenceStore::open(&format!("file:{}", folder.path().display())).unwrap(), folder)
    }

    #[tokio::test]
    async fn the_marker_names_one_store_and_its_epoch() {
        let (evidence, _folder) = in_folder();
        let store = StoreIdentity { epoch: 2, ..StoreIdentity::generate() };
        assert_eq!(evidence.check_owner(store).await.unwrap(), Ownership::Unmarked);
        evidence.set_owner(store).await.unwrap();
        assert_eq!(evidence.check_owner(store).await.unwrap(), Ownership::Ours);
        let restored = StoreIdentity { epoch: 3, ..store };
        assert_eq!(evidence.check_owner(restored).await.unwrap(), Ownership::OursOfEarlierEpoch);
        let before = evidence.check_owner(StoreIdentity { epoch: 1, ..store }).await;
        assert!(matches!(before, Err(OwnerError::LaterEpoch { .. })));
        let other = evidence.check_owner(StoreIdentity::generate()).await;
        assert!(matches!(other, Err(OwnerError::OtherStore { .. })));
    }

    #[tokio::test]
    async fn a_marker_that_is_none_is_refused() {
        let (evidence, folder) = in_folder();
        let long = "0".repeat(300);
        for content in ["", "another program's file", long.as_str(), PREFIX] {
            std::fs::write(folder.path().join(MARKER), content).unwrap();
            let owner = evidence.check_owner(StoreIdentity::generate()).await;
            assert!(matches!(owner, Err(OwnerError::UnreadableMarker)), "{content}");
        }
        assert!(BlobKey::parse(MARKER).is_err(), "a sweep would take it for a blob");
    }
}
