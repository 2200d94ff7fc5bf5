//! How a connection is made.

use super::{
    super::{Error, ErrorKind, Refusal},
    failure::{failed, of},
};
use deadpool_postgres::{Connect, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime, Timeouts};
use futures_util::future::BoxFuture;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};
use rustls_platform_verifier::BuilderVerifierExt;
use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};
use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, Connection, Error as PgError, Socket, config::Host, tls::MakeTlsConnect};
use tokio_postgres_rustls::MakeRustlsConnect;
use zeroize::Zeroizing;

/// How long a connection may take to be made, and how long one waits for a free one.
const PATIENCE: Duration = Duration::from_secs(5);
/// PostgreSQL ends whatever takes longer. `idle_in_transaction`: of a replica that hangs, so that
/// its locks do not stay.
const SESSION: &str = "SET statement_timeout = '5s'; SET lock_timeout = '4s'; \
                       SET idle_in_transaction_session_timeout = '10s'";

/// Where PostgreSQL is, and what it is shown.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Host, port, database and user; a password only where there is no file with it.
    pub config: Config,
    /// Read with each new connection, so that a rotated password needs no restart.
    pub password_file: Option<PathBuf>,
    pub tls: PostgresTls,
    /// How many connections one replica has, beside the one that listens.
    pub max_connections: usize,
}

/// The files that TLS needs, in PEM. They too are read with each new connection.
#[derive(Clone, Debug, Default)]
pub struct PostgresTls {
    /// Who may have signed the server's certificate. None: the system's authorities.
    pub ca_file: Option<PathBuf>,
    /// The gateway's own certificate and its key, where the server asks for one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

impl fmt::Display for PostgresOptions {
    /// Host, port and database.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hosts = self.config.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(folder) => folder.display().to_string(),
        });
        let ports = self.config.get_ports().iter().copied().chain(std::iter::repeat(5432));
        let places: Vec<String> = hosts.zip(ports).map(|(host, port)| format!("{host}:{port}")).collect();
        write!(f, "postgres://{}/{}", places.join(","), self.config.get_dbname().unwrap_or_default())
    }
}

type TlsStream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;

impl PostgresOptions {
    pub(super) fn pool(&self) -> Result<Pool, Error> {
        let config = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = Manager::from_connect(self.config.clone(), self.clone(), config);
        let timeouts = Timeouts { wait: Some(PATIENCE), create: Some(PATIENCE), recycle: Some(PATIENCE) };
        let pool = Pool::builder(manager).max_size(self.max_connections).timeouts(timeouts).runtime(Runtime::Tokio1);
        pool.build().map_err(|error| Error::new("open", ErrorKind::Refused(Refusal::CannotOpen), error))
    }

    /// A connection beside the pool's, and what drives it.
    pub(super) async fn connect_alone(&self) -> Result<(Client, Connection<Socket, TlsStream>), PgError> {
        let mut config = self.config.clone();
        config.connect_timeout(PATIENCE).application_name("faceid-gateway");
        if let Some(file) = &self.password_file {
            match fs::read_to_string(file).map(Zeroizing::new) {
                Ok(password) => drop(config.password(password.trim_end_matches(['\r', '\n']))),
                // The server says then that it wants one.
                Err(error) => tracing::error!(file = %file.display(), %error, "store.password_file cannot be read"),
            }
        }
        config.connect(self.tls.clone()).await
    }
}

/// A connection of its own, for one thing.
pub(super) struct Alone {
    pub(super) client: Client,
    driver: JoinHandle<Result<(), PgError>>,
}

impl Alone {
    pub(super) async fn connect(options: &PostgresOptions) -> Result<Self, Error> {
        let (client, connection) = options.connect_alone().await.map_err(failed("open"))?;
        Ok(Self { client, driver: tokio::spawn(connection) })
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Connect for PostgresOptions {
    fn connect(&self, _: &Config) -> BoxFuture<'_, Result<(Client, JoinHandle<()>), PgError>> {
        Box::pin(async {
            let (client, connection) = self.connect_alone().await?;
            let driver = tokio::spawn(async {
                if let Err(error) = connection.await {
                    tracing::warn!(error = %of("connection", &error), "a connection to PostgreSQL ended");
                }
            });
            client.batch_execute(SESSION).await?;
            Ok((client, driver))
        })
    }
}

impl MakeTlsConnect<Socket> for PostgresTls {
    type Stream = TlsStream;
    type TlsConnect = <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect;
    type Error = io::Error;

    fn make_tls_connect(&mut self, host: &str) -> io::Result<Self::TlsConnect> {
        let mut connector = MakeRustlsConnect::new(self.client_config()?);
        MakeTlsConnect::<Socket>::make_tls_connect(&mut connector, host).map_err(io::Error::other)
    }
}

impl PostgresTls {
    fn client_config(&self) -> io::Result<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?;
        let builder = match &self.ca_file {
            Some(file) => {
                let mut roots = RootCertStore::empty();
                for authority in CertificateDer::pem_file_iter(file).map_err(unusable(file))? {
                    let authority = authority.map_err(unusable(file))?;
                    roots.add(authority).map_err(unusable(file))?;
                }
                builder.with_root_certificates(roots)
            }
            None => builder.with_platform_verifier().map_err(io::Error::other)?,
        };
        let Some((certificate, key)) = &self.identity else { return Ok(builder.with_no_client_auth()) };
        let chain = CertificateDer::pem_file_iter(certificate).map_err(unusable(certificate))?;
        let chain = chain.collect::<Result<_, _>>().map_err(unusable(certificate))?;
        let key_of = PrivateKeyDer::from_pem_file(key).map_err(unusable(key))?;
        builder.with_client_auth_cert(chain, key_of).map_err(unusable(certificate))
    }
}

fn unusable<E: std::error::Error + Send + Sync + 'static>(file: &Path) -> impl Fn(E) -> io::Error {
    move |error| io::Error::other(format!("{}: {error}", file.display()))
}
