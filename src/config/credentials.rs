//! `[[credentials]]`: key pairs, and where they come from.

use super::{
    secret,
    types::{Int, Secret},
    value,
};
use crate::{
    credential::{SourceKind, read_profile},
    domain::{
        fault::{Fault, Faults},
        key_pair::{KeyPair, UnverifiedKeyPair},
    },
    tencent::sts::Role,
};
use schemars::JsonSchema;
use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// The variables of the vendor's SDKs that sources read; set by TKE, or by whoever runs the
/// gateway.
pub(super) const SOURCE_VARIABLES: [&str; 9] =
    [SECRET_ID, SECRET_KEY, TOKEN, CREDENTIALS_FILE, "HOME", TKE_REGION, TKE_PROVIDER_ID, TKE_TOKEN_FILE, TKE_ROLE_ARN];
const SECRET_ID: &str = "TENCENTCLOUD_SECRET_ID";
const SECRET_KEY: &str = "TENCENTCLOUD_SECRET_KEY";
const TOKEN: &str = "TENCENTCLOUD_TOKEN";
const CREDENTIALS_FILE: &str = "TENCENTCLOUD_CREDENTIALS_FILE";
const TKE_REGION: &str = "TKE_REGION";
const TKE_PROVIDER_ID: &str = "TKE_PROVIDER_ID";
const TKE_TOKEN_FILE: &str = "TKE_WEB_IDENTITY_TOKEN_FILE";
const TKE_ROLE_ARN: &str = "TKE_ROLE_ARN";

/// A credential of the configuration.
pub enum CredentialConfig {
    /// Sealed into the vault where that has none of the name.
    Static(KeyPair),
    /// Asked again and again; its key pairs stay in memory.
    Source(SourceKind),
}

/// Key pairs of Tencent accounts, sealed into the vault at a start when it has none of the name.
/// The vault's pair is used before the one here: put a new pair in use with `faceid-gateway
/// credential rotate`. A credential that is in the vault may be left out here.
#[derive(Deserialize, JsonSchema, Serialize)]
#[serde(deny_unknown_fields, default)]
#[schemars(extend("required" = ["name"]))]
pub(super) struct Credential {
    /// The name that flows use.
    #[schemars(example = &"main")]
    name: Option<String>,
    /// Where its key pair comes from:
    /// - static: the pair below.
    /// - environment: TENCENTCLOUD_SECRET_ID, TENCENTCLOUD_SECRET_KEY and TENCENTCLOUD_TOKEN.
    /// - profile: a file of the vendor's command line.
    /// - tke_oidc: the role of the pod, by TKE_ROLE_ARN and the other variables that TKE sets.
    /// - sts_assume_role: the role role_arn, assumed by the credential based_on.
    /// - cvm_role: the role of the machine.
    ///
    /// All but static are asked again ahead of the pair's end.
    source: Source,
    #[serde(skip_serializing)]
    secret_id: Option<Secret>,
    /// With source static: the file that holds the SecretId.
    #[schemars(example = &"/run/secrets/tencent/secret_id")]
    secret_id_file: Option<String>,
    #[serde(skip_serializing)]
    secret_key: Option<Secret>,
    /// With source static: the file that holds the SecretKey.
    #[schemars(example = &"/run/secrets/tencent/secret_key")]
    secret_key_file: Option<String>,
    /// With source profile; not set: `~/.tencentcloud/credentials`.
    profile_file: Option<String>,
    /// With source profile; not set: default.
    profile: Option<String>,
    /// With source sts_assume_role.
    role_arn: Option<String>,
    /// With source sts_assume_role: the credential that assumes the role.
    based_on: Option<String>,
    /// With source cvm_role: the role; not set: the one that is bound to the machine.
    role: Option<String>,
    /// Of a role: what the vendor's logs show.
    session_name: String,
    /// Of a role: seconds that a temporary pair is asked for.
    duration_s: Int<300, 43_200>,
}

impl Default for Credential {
    fn default() -> Self {
        Self {
            name: None,
            source: Source::Static,
            secret_id: None,
            secret_id_file: None,
            secret_key: None,
            secret_key_file: None,
            profile_file: None,
            profile: None,
            role_arn: None,
            based_on: None,
            role: None,
            session_name: "faceid-gateway".into(),
            duration_s: Int::new(7200),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
enum Source {
    Static,
    Environment,
    Profile,
    TkeOidc,
    StsAssumeRole,
    CvmRole,
}

/// Converts all credentials; `environment` has the variables of [`SOURCE_VARIABLES`].
pub(super) fn convert(
    credentials: &[Credential],
    environment: &BTreeMap<String, String>,
    faults: &mut Faults,
) -> Vec<(String, CredentialConfig)> {
    let mut names = BTreeSet::new();
    let mut converted = Vec::new();
    for (i, credential) in credentials.iter().enumerate() {
        let path = format!("credentials[{i}]");
        let name = value::unique_name(&format!("{path}.name"), credential.name.as_deref(), &mut names, faults);
        credential.check_belonging(&path, faults);
        let config = credential.convert(&path, environment, faults);
        if let (Some(name), Some(config)) = (name, config) {
            converted.push((name, config));
        }
    }
    for (i, credential) in credentials.iter().enumerate() {
        // A credential that is not here may be in the vault.
        let base = credentials.iter().find(|other| other.name.is_some() && other.name == credential.based_on);
        if base.is_some_and(|base| base.source == Source::StsAssumeRole) {
            let problem = "is an assumed role itself; name the credential that it is based on";
            faults.add(format!("credentials[{i}].based_on"), problem);
        }
    }
    converted
}

impl Credential {
    /// A setting of another source than its own would do nothing.
    fn check_belonging(&self, path: &str, faults: &mut Faults) {
        for (is_set, setting, source) in [
            (self.secret_id.is_some(), "secret_id", Source::Static),
            (self.secret_id_file.is_some(), "secret_id_file", Source::Static),
            (self.secret_key.is_some(), "secret_key", Source::Static),
            (self.secret_key_file.is_some(), "secret_key_file", Source::Static),
            (self.profile_file.is_some(), "profile_file", Source::Profile),
            (self.profile.is_some(), "profile", Source::Profile),
            (self.role_arn.is_some(), "role_arn", Source::StsAssumeRole),
            (self.based_on.is_some(), "based_on", Source::StsAssumeRole),
            (self.role.is_some(), "role", Source::CvmRole),
        ] {
            if is_set && self.source != source {
                faults.add(format!("{path}.{setting}"), format!("belongs to another source than {path}.source"));
            }
        }
    }

    fn convert(
        &self,
        path: &str,
        environment: &BTreeMap<String, String>,
        faults: &mut Faults,
    ) -> Option<CredentialConfig> {
        let source_path = format!("{path}.source");
        let kind = match self.source {
            Source::Static => return self.static_pair(path, faults).map(CredentialConfig::Static),
            Source::Environment => SourceKind::Environment(environment_pair(environment, &source_path, faults)?),
            Source::Profile => self.profile(path, environment, faults)?,
            Source::TkeOidc => self.tke_oidc(path, environment, faults)?,
            Source::StsAssumeRole => {
                let arn = value::required(&format!("{path}.role_arn"), value::given(self.role_arn.as_deref()), faults);
                let based_on = self.based_on.as_deref();
                let based_on = value::checked(&format!("{path}.based_on"), based_on, faults, value::checked_name);
                let role = self.role(path, arn.map(str::to_owned), faults);
                SourceKind::AssumeRole { based_on: based_on?, role: role? }
            }
            Source::CvmRole => {
                let role = value::given(self.role.as_deref());
                let role = role.map(|role| faults.check(&format!("{path}.role"), role_name(role)));
                // A role that is at fault is not one that is left out.
                if role.as_ref().is_some_and(Option::is_none) {
                    return None;
                }
                SourceKind::CvmRole { role: role.flatten() }
            }
        };
        Some(CredentialConfig::Source(kind))
    }

    fn static_pair(&self, path: &str, faults: &mut Faults) -> Option<KeyPair> {
        let (id_path, key_path) = (format!("{path}.secret_id"), format!("{path}.secret_key"));
        let id = secret::read(&id_path, self.secret_id.as_ref(), self.secret_id_file.as_deref(), faults);
        let key = secret::read(&key_path, self.secret_key.as_ref(), self.secret_key_file.as_deref(), faults);
        let (id, key) = (id?, key?);
        let noted = |Fault { field, problem }: Fault| {
            faults.add(if field == "secret_id" { &id.path } else { &key.path }, problem);
        };
        let checked = UnverifiedKeyPair::new(id.text, key.text).check();
        checked.map_err(|bad| bad.into_iter().for_each(noted)).ok()
    }

    /// Read once, so that a file that is missing or wrong is a fault and no surprise.
    fn profile(&self, path: &str, environment: &BTreeMap<String, String>, faults: &mut Faults) -> Option<SourceKind> {
        let path = format!("{path}.profile_file");
        let usual = || {
            let named = environment.get(CREDENTIALS_FILE).filter(|file| !file.is_empty()).map(PathBuf::from);
            named.or_else(|| Some(Path::new(environment.get("HOME")?).join(".tencentcloud/credentials")))
        };
        let Some(file) = value::given(self.profile_file.as_deref()).map(PathBuf::from).or_else(usual) else {
            faults.add(path, "is missing, and there is no home folder");
            return None;
        };
        let profile = self.profile.clone().unwrap_or_else(|| "default".to_owned());
        faults.check(&path, read_profile(&file, &profile).map(|_| ()))?;
        Some(SourceKind::Profile { file, profile })
    }

    fn tke_oidc(&self, path: &str, environment: &BTreeMap<String, String>, faults: &mut Faults) -> Option<SourceKind> {
        let mut variable = |name: &str| {
            let value = environment.get(name).filter(|value| !value.is_empty()).cloned();
            if value.is_none() {
                let problem = format!("needs the variable {name}, which TKE sets for pods with a role");
                faults.add(format!("{path}.source"), problem);
            }
            value
        };
        let region = variable(TKE_REGION);
        let provider_id = variable(TKE_PROVIDER_ID);
        let token_file = variable(TKE_TOKEN_FILE);
        let arn = variable(TKE_ROLE_ARN);
        let role = self.role(path, arn, faults);
        let (region, provider_id, token_file) = (region?, provider_id?, PathBuf::from(token_file?));
        Some(SourceKind::TkeOidc { region, provider_id, token_file, role: role? })
    }

    fn role(&self, path: &str, arn: Option<String>, faults: &mut Faults) -> Option<Role> {
        let session_name = faults.check(&format!("{path}.session_name"), session_name(&self.session_name));
        Some(Role { arn: arn?, session_name: session_name?, duration_s: self.duration_s.get() })
    }
}

fn role_name(text: &str) -> Result<String, String> {
    let fits = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.+=,@".contains(&byte));
    if fits { Ok(text.to_owned()) } else { Err("is not the name of a role".into()) }
}

fn session_name(text: &str) -> Result<String, String> {
    let fits = (2..=128).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"=,.@_-".contains(&byte));
    if fits { Ok(text.to_owned()) } else { Err("is not 2 to 128 characters of A-Z, a-z, 0-9 and =,.@_-".into()) }
}

fn environment_pair(environment: &BTreeMap<String, String>, source_path: &str, faults: &mut Faults) -> Option<KeyPair> {
    let value = |name: &str| SecretString::from(environment.get(name).map(String::as_str).unwrap_or_default());
    let has_token = environment.get(TOKEN).is_some_and(|token| !token.is_empty());
    let session_token = has_token.then(|| value(TOKEN));
    let pair = UnverifiedKeyPair { session_token, ..UnverifiedKeyPair::new(value(SECRET_ID), value(SECRET_KEY)) };
    let found = |Fault { field, problem }: Fault| {
        let variable = match field.as_str() {
            "secret_id" => SECRET_ID,
            "secret_key" => SECRET_KEY,
            _ => TOKEN,
        };
        faults.add(source_path, format!("reads the variable {variable}, which {problem}"));
    };
    pair.check().map_err(|bad| bad.into_iter().for_each(found)).ok()
}

#[cfg(test)]
mod tests {
    use super::{super::layers::Layers, *};
    use secrecy::ExposeSecret;

    fn read_text(text: &str, environment: &[(&str, &str)]) -> (Vec<(String, CredentialConfig)>, Vec<String>) {
        let mut faults = Faults::default();
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let (settings, found) = Layers::parse(text).ok().unwrap().read();
        let read = convert(&settings.credentials, &environment, &mut faults);
        (read, found.join(faults).iter().map(ToString::to_string).collect())
    }

    #[test]
    fn the_environment_is_read_with_its_token() {
        let text = "[[credentials]]\nname = 'e'\nsource = 'environment'";
        let (_, faults) = read_text(text, &[(SECRET_ID, "AKID1")]);
        assert_eq!(faults, ["credentials[0].source: reads the variable TENCENTCLOUD_SECRET_KEY, which is missing"]);
        let (read, faults) = read_text(text, &[(SECRET_ID, "AKID1"), (SECRET_KEY, "k"), (TOKEN, "t")]);
        assert!(faults.is_empty(), "{faults:?}");
        let CredentialConfig::Source(SourceKind::Environment(pair)) = &read[0].1 else { panic!("another source") };
        assert_eq!(pair.session_token().map(ExposeSecret::expose_secret), Some("t"));
    }

    #[test]
    fn a_static_pair_passes_the_check_of_every_pair() {
        let text = "[[credentials]]\nname = 'main'\nsecret_id = 'AKID 1'\nsecret_key = '密钥'";
        let (read, faults) = read_text(text, &[]);
        assert!(read.is_empty());
        assert_eq!(
            faults,
            [
                "credentials[0].secret_id: has U+0020 (blank) as character 5 of 6; only visible ASCII is allowed",
                "credentials[0].secret_key: has U+5BC6 as character 1 of 2; only visible ASCII is allowed",
            ]
        );
    }

    #[test]
    fn every_fault_of_a_source_is_named() {
        let text = r#"
            [[credentials]]
            name = "tke"
            source = "tke_oidc"
            duration_s = 10
            [[credentials]]
            name = "role"
            source = "sts_assume_role"
            based_on = "second"
            [[credentials]]
            name = "second"
            source = "sts_assume_role"
            role_arn = "qcs::cam::uin/1:roleName/r"
            based_on = "main"
            session_name = "a b"
            [[credentials]]
            name = "machine"
            source = "cvm_role"
            role = "../x"
            [[credentials]]
            name = "file"
            source = "profile"
            profile_file = "/does/not/exist"
            [[credentials]]
            name = "other"
            source = "magic"
        "#;
        let (_, faults) = read_text(text, &[(TKE_REGION, "ap-guangzhou"), (TKE_ROLE_ARN, "qcs")]);
        let fields: Vec<&str> = faults.iter().map(|fault| fault.split(": ").next().unwrap()).collect();
        assert_eq!(
            fields,
            [
                "credentials[0].duration_s",
                "credentials[0].source",
                "credentials[0].source",
                "credentials[1].role_arn",
                "credentials[1].based_on",
                "credentials[2].session_name",
                "credentials[3].role",
                "credentials[4].profile_file",
                "credentials[5].source",
            ],
            "{faults:#?}"
        );
    }

    #[test]
    fn an_assumed_role_is_not_based_on_another() {
        let role = |name: &str, base: &str| {
            format!("[[credentials]]\nname='{name}'\nsource='sts_assume_role'\nrole_arn='qcs'\nbased_on='{base}'\n")
        };
        let (_, faults) = read_text(&(role("a", "b") + &role("b", "main")), &[]);
        assert!(
            faults.len() == 1 && faults[0].starts_with("credentials[0].based_on: is an assumed role"),
            "{faults:?}"
        );
    }
}
