//! A sealed column of a verification: bound to its row, to the row's owner, and, where it is the
//! result, to the row's version.

use super::Error;
use crate::{
    store::row::NewRow,
    vault::{Keyring, Place, keyring::OpenError},
};
use zeroize::Zeroizing;

pub(super) const SESSION: &str = "sealed_session";
pub(super) const SUBJECT: &str = "sealed_subject";
pub(super) const RESULT: &str = "sealed_result";

/// Where a sealed column stands.
#[derive(Clone, Copy)]
pub(super) struct Cell<'a> {
    pub id: &'a str,
    pub caller: &'a str,
    pub flow: &'a str,
    /// Of the row that the value is written with. Session and subject never change and do not
    /// depend on it.
    pub version: i64,
    pub column: &'static str,
}

impl<'a> Cell<'a> {
    pub(super) fn of(created: &'a NewRow, version: i64, column: &'static str) -> Self {
        Self { id: &created.id, caller: &created.caller, flow: &created.flow, version, column }
    }

    pub(super) fn seal(self, keyring: &Keyring, plain: &[u8]) -> Vec<u8> {
        self.at_place(|place| keyring.seal(place, plain))
    }

    /// Opens what was sealed for here.
    ///
    /// # Errors
    /// When it was altered, moved, or sealed with a key that is not in the keyring.
    pub(super) fn open(self, keyring: &Keyring, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        self.at_place(|place| keyring.open(place, sealed)).map_err(|error| self.unreadable(&error))
    }

    /// Opens what a first version sealed, which bound it to its row alone.
    ///
    /// # Errors
    /// See [`Cell::open`].
    pub(super) fn open_unbound(self, keyring: &Keyring, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let place = Place { table: "verifications", row: self.id, column: self.column, bound: &[] };
        keyring.open(place, sealed).map_err(|error| self.unreadable(&error))
    }

    fn at_place<T>(self, act: impl FnOnce(Place<'_>) -> T) -> T {
        let version = self.version.to_string();
        let bound = [self.caller, self.flow, &version];
        let bound = if self.column == RESULT { &bound[..] } else { &bound[..2] };
        act(Place { table: "verifications", row: self.id, column: self.column, bound })
    }

    fn unreadable(self, error: &OpenError) -> Error {
        Error::unreadable(self.id, self.column, error)
    }
}
