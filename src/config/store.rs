//! Where the store is.

use super::{
    secret, settings,
    value::{given, required},
};
use crate::{
    domain::fault::Faults,
    store::postgres::{PostgresOptions, PostgresTls},
};
use std::{
    fmt, fs,
    path::{Path, PathBuf},
};
use tokio_postgres::config::{Config, SslMode, TargetSessionAttrs};
use url::form_urlencoded;

const FORM: &str = "postgres://<user>@<host>:<port>/<database>";

/// Where the store is.
#[derive(Clone, Debug)]
pub enum StoreUrl {
    Sqlite(PathBuf),
    Postgres(Box<PostgresOptions>),
}

impl StoreUrl {
    /// The file, for what is done with a file only.
    ///
    /// # Errors
    /// When the store is on PostgreSQL: `instead` says what to do there.
    pub fn sqlite(&self, instead: &str) -> anyhow::Result<&Path> {
        match self {
            Self::Sqlite(path) => Ok(path),
            Self::Postgres(_) => anyhow::bail!("store.url names PostgreSQL: {instead}"),
        }
    }
}

impl fmt::Display for StoreUrl {
    /// Without what is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sqlite(path) => write!(f, "sqlite:{}", path.display()),
            Self::Postgres(options) => options.fmt(f),
        }
    }
}

impl settings::Store {
    pub(super) fn convert(&self, faults: &mut Faults) -> Option<StoreUrl> {
        match self.url.split_once(':') {
            Some(("sqlite", path)) if !path.is_empty() => {
                self.refuse_settings_of_postgres(faults);
                Some(StoreUrl::Sqlite(path.into()))
            }
            Some(("postgres" | "postgresql", _)) => self.postgres(faults),
            _ => {
                faults.add("store.url", format!("is neither sqlite:<path> nor {FORM}"));
                None
            }
        }
    }

    fn postgres(&self, faults: &mut Faults) -> Option<StoreUrl> {
        let config = faults.check("store.url", postgres_config(&self.url));
        let (certificate, key) = (given(self.certificate_file.as_deref()), given(self.key_file.as_deref()));
        if certificate.is_some() != key.is_some() {
            required("store.certificate_file", certificate, faults);
            required("store.key_file", key, faults);
        }
        secret::read_optional("store.password", None, given(self.password_file.as_deref()), faults);
        let mut file = |name: &str, path: Option<&str>| {
            let path = PathBuf::from(path?);
            if let Err(error) = fs::File::open(&path) {
                faults.add(format!("store.{name}"), format!("{} cannot be read: {error}", path.display()));
            }
            Some(path)
        };
        Some(StoreUrl::Postgres(Box::new(PostgresOptions {
            config: config?,
            password_file: given(self.password_file.as_deref()).map(PathBuf::from),
            tls: PostgresTls {
                ca_file: file("ca_file", given(self.ca_file.as_deref())),
                identity: file("certificate_file", certificate).zip(file("key_file", key)),
            },
            max_connections: self.max_connections.get() as usize,
        })))
    }

    /// A setting that does nothing was meant to do something.
    fn refuse_settings_of_postgres(&self, faults: &mut Faults) {
        for (name, value) in [
            ("password_file", &self.password_file),
            ("ca_file", &self.ca_file),
            ("certificate_file", &self.certificate_file),
            ("key_file", &self.key_file),
        ] {
            if given(value.as_deref()).is_some() {
                faults.add(format!("store.{name}"), "is for PostgreSQL, and store.url names SQLite: take it out");
            }
        }
    }
}

/// What is said of a fault repeats nothing of the URL: it may have a password.
fn postgres_config(text: &str) -> Result<Config, String> {
    let (base, query) = text.split_once('?').unwrap_or((text, ""));
    // Nothing of the text is told: what stands in the wrong place may be a password.
    let mut config: Config = base.parse().map_err(|_| format!("is not {FORM}"))?;
    if config.get_password().is_some() {
        return Err("has a password: put it into a file, and name that in store.password_file".into());
    }
    let mut ssl_mode = SslMode::Require;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        ssl_mode = match (&*name, &*value) {
            ("sslmode", "require" | "verify-full") => SslMode::Require,
            ("sslmode", "disable") => SslMode::Disable,
            ("sslmode", _) => {
                return Err("has another sslmode than require (which checks the certificate) or disable".into());
            }
            _ => return Err("has a parameter other than sslmode".into()),
        };
    }
    if config.get_hosts().is_empty() || config.get_user().is_none() || config.get_dbname().is_none() {
        return Err(format!("lacks user, host or database: it is {FORM}"));
    }
    // Of several hosts the primary.
    config.ssl_mode(ssl_mode).target_session_attrs(TargetSessionAttrs::ReadWrite);
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tls_is_required_unless_it_is_disabled() {
        for (query, mode) in
            [("", SslMode::Require), ("?sslmode=verify-full", SslMode::Require), ("?sslmode=disable", SslMode::Disable)]
        {
            let config = postgres_config(&format!("postgres://gateway@db.example.com:5433/faceid{query}")).unwrap();
            assert_eq!((config.get_ssl_mode(), config.get_ports()), (mode, &[5433][..]), "{query}");
        }
        assert_eq!(postgres_config("postgres://gateway@first:1,second:2/faceid").unwrap().get_hosts().len(), 2);
    }

    #[test]
    fn a_bad_url_is_told_without_its_secrets() {
        for (url, part) in [
            ("postgres://gateway:s3cret@db/faceid", "store.password_file"),
            ("postgres://gateway@db/faceid?sslmode=prefer", "sslmode"),
            ("postgres://gateway@db/faceid?password=s3cret", "a parameter other than sslmode"),
            ("postgres://db/faceid", "lacks user"),
            ("postgres://gateway@db", "lacks user"),
        ] {
            let problem = postgres_config(url).unwrap_err();
            assert!(problem.contains(part) && !problem.contains("s3cret"), "{url}: {problem}");
        }
    }
}
