//! CredentialService: key pairs of Tencent accounts, managed while the gateway serves.
//!
//! A credential has up to two live key pairs. The first is used; the second is there for when the
//! first is refused. What is changed is changed over the version that was read, so two operators do
//! not undo each other.

use super::{App, Error};
use crate::{
    credential::{CredentialError, FROM_API},
    domain::{
        audit::AuditAction,
        caller::{Caller, Right},
        fault::Faults,
        ids::check_name,
        key_pair::{KeyPair, TEST_OK, UnverifiedKeyPair},
    },
    store::row::{CredentialRow, Effects, KeyPairRow},
    tencent::{self, KeyVerdict},
};
use jiff::Timestamp;

/// How many key pairs of a credential are live at once.
const MAX_PAIRS: usize = 2;

/// A credential, without its secrets.
pub struct Credential {
    pub name: String,
    pub origin: CredentialOrigin,
    pub disabled_at: Option<Timestamp>,
    /// In the order of their use.
    pub key_pairs: Vec<CredentialKeyPair>,
    /// Flows of the configuration that use it.
    pub flows: Vec<String>,
}

/// Origin of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialOrigin {
    Configuration,
    Api,
    /// A source of the configuration that is asked again and again.
    External,
}

/// A key pair, without its secrets.
pub struct CredentialKeyPair {
    pub id: String,
    pub masked_secret_id: String,
    pub created_at: Option<Timestamp>,
    pub used_at: Option<Timestamp>,
    pub test: Option<KeyPairTest>,
    /// None: it does not end by itself.
    pub expires_at: Option<Timestamp>,
}

/// Result of testing a key pair against the vendor.
pub struct KeyPairTest {
    pub at: Option<Timestamp>,
    /// `OK`, or the vendor's code, or a word for what went wrong.
    pub code: String,
}

impl KeyPairTest {
    /// Whether the vendor takes the pair.
    pub fn has_passed(&self) -> bool {
        self.code == TEST_OK
    }
}

impl App {
    /// Adds a credential, after the vendor has taken its key pair.
    ///
    /// # Errors
    /// See [`Error`]; nothing is stored then.
    pub async fn create_credential(
        &self,
        caller: &Caller,
        name: &str,
        pair: UnverifiedKeyPair,
    ) -> Result<Credential, Error> {
        self.require(caller, Right::Admin)?;
        let mut faults = Faults::default();
        faults.check("name", check_name(name));
        let pair = faults.check_all(pair.check());
        let Some(pair) = pair.filter(|_| faults.len() == 0) else {
            return Err(Error::InvalidFields(faults.into_vec()));
        };
        // Before the vendor is asked: a name that is taken is no reason to show it the pair.
        if self.credentials.is_external(name) || self.store.find_credential(name).await?.is_some() {
            return Err(Error::CredentialExists(name.to_owned()));
        }
        let sealed = self.seal_tested(name, &pair).await?;
        let new = CredentialRow {
            name: name.to_owned(),
            version: 1,
            origin: FROM_API.to_owned(),
            disabled_at_ms: None,
            key_pairs: vec![sealed],
        };
        if !self.store.create_credential(new, self.noted(caller, AuditAction::CredentialCreated, name)).await? {
            return Err(Error::CredentialExists(name.to_owned()));
        }
        tracing::info!(credential = name, caller = %caller.name, "credential added");
        self.credential(name).await
    }

    /// All credentials, by name.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn list_credentials(&self, caller: &Caller) -> Result<Vec<Credential>, Error> {
        self.require(caller, Right::Admin)?;
        self.store.append_audit(self.new_event(&caller.name, AuditAction::CredentialsListed)).await?;
        // The vault's of the same name as a source is not used.
        let rows = self.store.credentials().await?.into_iter().filter(|row| !self.credentials.is_external(&row.name));
        let mut credentials = rows.map(|row| self.without_secrets(row)).collect::<Result<Vec<_>, Error>>()?;
        credentials.extend(self.credentials.external().map(|name| self.external(name)));
        credentials.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(credentials)
    }

    /// Puts a new key pair before the others, after the vendor has taken it. What was first becomes
    /// the second, what was second is erased. A disabled credential is in use again, with the new
    /// pair alone.
    ///
    /// # Errors
    /// See [`Error`]; nothing is changed then.
    pub async fn rotate_credential(
        &self,
        caller: &Caller,
        name: &str,
        pair: UnverifiedKeyPair,
    ) -> Result<Credential, Error> {
        self.require(caller, Right::Admin)?;
        let pair = pair.check().map_err(Error::InvalidFields)?;
        self.credential_row(name).await?;
        let tested = self.seal_tested(name, &pair).await?;
        loop {
            let mut row = self.credential_row(name).await?;
            let mut others = Vec::new();
            for sealed in std::mem::take(&mut row.key_pairs) {
                // A pair that is there already moves to the front: a repeated call changes nothing
                // more.
                if row.disabled_at_ms.is_none() && self.credentials.vault.open(name, &sealed)? != pair {
                    others.push(sealed);
                }
            }
            row.key_pairs.push(tested.clone());
            row.key_pairs.extend(others);
            row.key_pairs.truncate(MAX_PAIRS);
            row.disabled_at_ms = None;
            let effects = self.with_scrub(self.noted(caller, AuditAction::CredentialRotated, name));
            if self.store.change_credential(row, effects).await? {
                tracing::info!(credential = name, caller = %caller.name, "credential rotated");
                return self.credential(name).await;
            }
        }
    }

    /// Asks the vendor whether it takes the key pairs, all or the one of this id, and notes what it
    /// says.
    ///
    /// # Errors
    /// See [`Error`]. A pair that the vendor refuses is no error.
    pub async fn test_credential(&self, caller: &Caller, name: &str, pair_id: &str) -> Result<Credential, Error> {
        self.require(caller, Right::Admin)?;
        if self.credentials.is_external(name) {
            return self.test_external(caller, name, pair_id).await;
        }
        let row = self.credential_row(name).await?;
        let chosen: Vec<&KeyPairRow> =
            row.key_pairs.iter().filter(|pair| pair_id.is_empty() || pair.id == pair_id).collect();
        if chosen.is_empty() {
            return Err(Error::KeyPairNotFound(name.to_owned()));
        }
        for sealed in chosen {
            let pair = self.credentials.vault.open(name, sealed)?;
            let tested = self.test_key(name, &pair).await;
            let at_ms = self.clock.now().as_millisecond();
            let effects = self.noted(caller, AuditAction::CredentialTested, name);
            self.store.note_key_pair_tested(&sealed.id, at_ms, test_code(&tested), effects).await?;
        }
        self.credential(name).await
    }

    /// Takes a credential out of use, or, with the id of a key pair, erases that pair.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::LastKeyPair`] for the only pair.
    pub async fn disable_credential(&self, caller: &Caller, name: &str, pair_id: &str) -> Result<Credential, Error> {
        self.require(caller, Right::Admin)?;
        loop {
            let mut row = self.credential_row(name).await?;
            let action = if pair_id.is_empty() {
                if row.disabled_at_ms.is_some() {
                    return self.without_secrets(row);
                }
                row.disabled_at_ms = Some(self.clock.now().as_millisecond());
                AuditAction::CredentialDisabled
            } else {
                let live = row.key_pairs.len();
                row.key_pairs.retain(|pair| pair.id != pair_id);
                if row.key_pairs.len() == live {
                    return Err(Error::KeyPairNotFound(name.to_owned()));
                }
                if row.key_pairs.is_empty() {
                    return Err(Error::LastKeyPair(name.to_owned()));
                }
                AuditAction::KeyPairDisabled
            };
            let effects = self.with_scrub(self.noted(caller, action, name));
            if self.store.change_credential(row, effects).await? {
                tracing::warn!(credential = name, caller = %caller.name, "credential or key pair disabled");
                return self.credential(name).await;
            }
        }
    }

    /// Erases a credential that nothing uses.
    ///
    /// # Errors
    /// See [`Error`]; [`Error::CredentialInUse`] names what uses it.
    pub async fn delete_credential(&self, caller: &Caller, name: &str) -> Result<(), Error> {
        self.require(caller, Right::Admin)?;
        loop {
            let row = if self.credentials.is_external(name) {
                // A source goes before what the vault has of the same name: nothing uses that, and
                // it is to be erased all the same.
                let shadowed = self.store.find_credential(name).await?;
                shadowed.ok_or_else(|| Error::CredentialExternal(name.to_owned()))?
            } else {
                self.credential_row(name).await?
            };
            let users = if self.credentials.is_external(name) { Vec::new() } else { self.users_of(name).await? };
            if !users.is_empty() {
                return Err(Error::CredentialInUse { name: name.to_owned(), users: users.join(", ") });
            }
            let effects = self.with_scrub(self.noted(caller, AuditAction::CredentialDeleted, name));
            if self.store.delete_credential(name, row.version, effects).await? {
                tracing::warn!(credential = name, caller = %caller.name, "credential deleted");
                return Ok(());
            }
        }
    }

    /// Users of a credential, as text for people.
    async fn users_of(&self, name: &str) -> Result<Vec<String>, Error> {
        let mut users: Vec<String> = self.flows_with(name).iter().map(|flow| format!("flow {flow}")).collect();
        users.extend(
            self.credentials.roles_based_on(name).map(|role| format!("credential {role}, which is based on it")),
        );
        let unsettled = self.store.unsettled_with_credential(name).await?;
        if unsettled > 0 {
            users.push(format!("{unsettled} verification(s) that the vendor is still to be asked about"));
        }
        Ok(users)
    }

    /// Seals a key pair that the vendor takes.
    async fn seal_tested(&self, name: &str, pair: &KeyPair) -> Result<KeyPairRow, Error> {
        self.test_key(name, pair).await?;
        let at_ms = self.clock.now().as_millisecond();
        let sealed = self.credentials.vault.seal(name, pair, at_ms);
        Ok(KeyPairRow { tested: Some((at_ms, TEST_OK.to_owned())), ..sealed })
    }

    /// Asks the vendor, for free, whether it takes a key pair: what it said if it did not, or did
    /// not say.
    async fn test_key(&self, name: &str, pair: &KeyPair) -> Result<(), tencent::Error> {
        match self.tencent.check_key(name, pair).await {
            (KeyVerdict::Fine, _) | (_, None) => Ok(()),
            (KeyVerdict::AccountBlocked | KeyVerdict::Refused | KeyVerdict::Undecided, Some(error)) => Err(error),
        }
    }

    async fn credential(&self, name: &str) -> Result<Credential, Error> {
        self.without_secrets(self.credential_row(name).await?)
    }

    async fn test_external(&self, caller: &Caller, name: &str, pair_id: &str) -> Result<Credential, Error> {
        if !pair_id.is_empty() && pair_id != name {
            return Err(Error::KeyPairNotFound(name.to_owned()));
        }
        for live in self.credentials.live_pairs(name).await? {
            let tested = self.test_key(name, &live.pair).await;
            self.store.append_audit(self.credential_event(&caller.name, AuditAction::CredentialTested, name)).await?;
            self.credentials.note_external_tested(name, test_code(&tested));
        }
        Ok(self.external(name))
    }

    /// One that a source gives. It may have no key pair now.
    fn external(&self, name: &str) -> Credential {
        let pair = self.credentials.external_pair(name).map(|pair| CredentialKeyPair {
            id: name.to_owned(),
            masked_secret_id: pair.masked_secret_id,
            created_at: Some(pair.got_at),
            used_at: pair.used_at,
            test: pair.tested.map(|(at, code)| KeyPairTest { at: Some(at), code }),
            expires_at: pair.expires_at,
        });
        Credential {
            name: name.to_owned(),
            origin: CredentialOrigin::External,
            disabled_at: None,
            key_pairs: pair.into_iter().collect(),
            flows: self.flows_with(name),
        }
    }

    async fn credential_row(&self, name: &str) -> Result<CredentialRow, Error> {
        if self.credentials.is_external(name) {
            return Err(Error::CredentialExternal(name.to_owned()));
        }
        self.credentials.vault.find(name).await.map_err(|error| match error {
            CredentialError::Absent(name) => Error::CredentialNotFound(name),
            error => Error::Credential(error),
        })
    }

    fn without_secrets(&self, row: CredentialRow) -> Result<Credential, Error> {
        let time = |ms: i64| Timestamp::from_millisecond(ms).ok();
        let key_pair = |sealed: KeyPairRow| {
            let pair = self.credentials.vault.open(&row.name, &sealed)?;
            Ok(CredentialKeyPair {
                id: sealed.id,
                masked_secret_id: pair.masked_id(),
                created_at: time(sealed.created_at_ms),
                used_at: sealed.used_at_ms.and_then(time),
                test: sealed.tested.map(|(at_ms, code)| KeyPairTest { at: time(at_ms), code }),
                expires_at: None,
            })
        };
        let key_pairs = row.key_pairs.into_iter().map(key_pair).collect::<Result<_, Error>>()?;
        let origin = if row.origin == FROM_API { CredentialOrigin::Api } else { CredentialOrigin::Configuration };
        let flows = self.flows_with(&row.name);
        Ok(Credential { name: row.name, origin, disabled_at: row.disabled_at_ms.and_then(time), key_pairs, flows })
    }

    fn flows_with(&self, credential: &str) -> Vec<String> {
        let terms = self.terms();
        terms.flows.values().filter(|flow| flow.credential == credential).map(|flow| flow.name.clone()).collect()
    }

    fn noted(&self, caller: &Caller, action: AuditAction, credential: &str) -> Effects {
        Effects { audit: vec![self.credential_event(&caller.name, action, credential)], ..Effects::default() }
    }
}

fn test_code(tested: &Result<(), tencent::Error>) -> &str {
    tested.as_ref().err().map_or(TEST_OK, tencent::Error::code)
}
