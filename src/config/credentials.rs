//! `[[credentials]]`: key pairs, and where they come from.

use super::{section::Section, value};
use crate::{
    credential::{SourceKind, read_profile},
    domain::{
        fault::{Fault, Faults},
        key_pair::{KeyPair, UnverifiedKeyPair},
    },
    tencent::sts::{Role, StsConfig},
};
use secrecy::SecretString;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};
use url::Url;

/// The variables of the vendor's SDKs that sources read; set by TKE, or by whoever runs the gateway.
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

pub(super) fn read_sts(tencent: &mut Section, faults: &mut Faults) -> Option<StsConfig> {
    let endpoint = tencent.parsed("sts_endpoint", faults, value::endpoint);
    let metadata_endpoint = tencent.parsed("metadata_endpoint", faults, metadata_endpoint);
    Some(StsConfig { endpoint: endpoint?, metadata_endpoint: metadata_endpoint? })
}

/// Plain http by its nature: the machine asks its own host.
fn metadata_endpoint(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| format!("is not a URL: {error}"))?;
    let is_plain = url.path() == "/" && url.query().is_none() && url.fragment().is_none() && url.username().is_empty();
    if matches!(url.scheme(), "http" | "https") && is_plain {
        Ok(url)
    } else {
        Err("is not http:// or https:// with host and port only".into())
    }
}

pub(super) fn read(
    root: &mut Section,
    environment: &BTreeMap<String, String>,
    faults: &mut Faults,
) -> Vec<(String, CredentialConfig)> {
    let mut names = BTreeSet::new();
    let mut credentials = Vec::new();
    let mut bases = Vec::new();
    for mut section in root.sections("credentials", faults) {
        let name = section.parsed("name", faults, |text| value::unique_name(text, &mut names));
        let credential = read_one(&mut section, environment, faults);
        if let Some(CredentialConfig::Source(SourceKind::AssumeRole { based_on, .. })) = &credential {
            bases.push((section.path_of("based_on"), based_on.clone()));
        }
        section.finish(faults);
        if let (Some(name), Some(credential)) = (name, credential) {
            credentials.push((name, credential));
        }
    }
    for (path, base) in bases {
        // One that is not here may be in the vault.
        let found = credentials.iter().find(|(name, _)| *name == base).map(|(_, credential)| credential);
        if matches!(found, Some(CredentialConfig::Source(SourceKind::AssumeRole { .. }))) {
            faults.add(path, "is an assumed role itself; name the credential that it is based on");
        }
    }
    credentials
}

fn read_one(
    section: &mut Section,
    environment: &BTreeMap<String, String>,
    faults: &mut Faults,
) -> Option<CredentialConfig> {
    let source_path = section.path_of("source");
    let source = section.text("source", faults).unwrap_or_else(|| "static".to_owned());
    let kind = match source.as_str() {
        "static" => {
            let (secret_id, secret_key) = (section.secret("secret_id", faults), section.secret("secret_key", faults));
            return static_pair(section, secret_id?, secret_key?, faults).map(CredentialConfig::Static);
        }
        "environment" => SourceKind::Environment(environment_pair(environment, &source_path, faults)?),
        "profile" => profile(section, environment, faults)?,
        "tke_oidc" => {
            let mut variable = |name: &str| {
                let value = environment.get(name).filter(|value| !value.is_empty()).cloned();
                if value.is_none() {
                    faults.add(&source_path, format!("needs the variable {name}, which TKE sets for pods with a role"));
                }
                value
            };
            let region = variable(TKE_REGION);
            let provider_id = variable(TKE_PROVIDER_ID);
            let token_file = variable(TKE_TOKEN_FILE);
            let arn = variable(TKE_ROLE_ARN);
            let role = role(section, arn, faults);
            let (region, provider_id, token_file) = (region?, provider_id?, PathBuf::from(token_file?));
            SourceKind::TkeOidc { region, provider_id, token_file, role: role? }
        }
        "sts_assume_role" => {
            let arn = section.required_text("role_arn", faults);
            let based_on = section.parsed("based_on", faults, value::checked_name);
            let role = role(section, arn, faults);
            SourceKind::AssumeRole { based_on: based_on?, role: role? }
        }
        "cvm_role" => {
            let path = section.path_of("role");
            let role = section.text("role", faults);
            let is_name = |role: &String| {
                role.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.+=,@".contains(&byte)) && !role.is_empty()
            };
            if role.as_ref().is_some_and(|role| !is_name(role)) {
                faults.add(path, "is not the name of a role");
                return None;
            }
            SourceKind::CvmRole { role }
        }
        _ => {
            faults.add(
                source_path,
                "is not a source; the sources are: static, environment, profile, tke_oidc, sts_assume_role, cvm_role",
            );
            return None;
        }
    };
    Some(CredentialConfig::Source(kind))
}

fn static_pair(
    section: &Section,
    secret_id: SecretString,
    secret_key: SecretString,
    faults: &mut Faults,
) -> Option<KeyPair> {
    let checked = UnverifiedKeyPair::new(secret_id, secret_key).check();
    let found = |fault: Fault| faults.add(section.path_of(&fault.field), fault.problem);
    checked.map_err(|bad| bad.into_iter().for_each(found)).ok()
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

/// Read once, so that a file that is missing or wrong is a fault and no surprise.
fn profile(section: &mut Section, environment: &BTreeMap<String, String>, faults: &mut Faults) -> Option<SourceKind> {
    let path = section.path_of("profile_file");
    let usual = || {
        let named = environment.get(CREDENTIALS_FILE).filter(|file| !file.is_empty()).map(PathBuf::from);
        named.or_else(|| Some(Path::new(environment.get("HOME")?).join(".tencentcloud/credentials")))
    };
    let file = section.text("profile_file", faults).map(PathBuf::from).or_else(usual);
    let profile = section.text("profile", faults).unwrap_or_else(|| "default".to_owned());
    let Some(file) = file else {
        faults.add(path, "is missing, and there is no home folder");
        return None;
    };
    faults.check(&path, read_profile(&file, &profile).map(|_| ()))?;
    Some(SourceKind::Profile { file, profile })
}

fn role(section: &mut Section, arn: Option<String>, faults: &mut Faults) -> Option<Role> {
    let session_name = section.parsed_or("session_name", "faceid-gateway", faults, |text| {
        let fits = (2..=128).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"=,.@_-".contains(&byte));
        if fits { Ok(text.to_owned()) } else { Err("is not 2 to 128 characters of A-Z, a-z, 0-9 and =,.@_-".into()) }
    });
    let duration_s = section.parsed_or("duration_s", "7200", faults, |text| value::number(text, 300..=43_200));
    Some(Role { arn: arn?, session_name: session_name?, duration_s: duration_s? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;
    use std::str::FromStr;

    fn read_text(text: &str, environment: &[(&str, &str)]) -> (Vec<(String, CredentialConfig)>, Vec<String>) {
        let mut faults = Faults::default();
        let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let mut root = Section::root(toml::Table::from_str(text).unwrap());
        let read = read(&mut root, &environment, &mut faults);
        (read, faults.into_vec().iter().map(ToString::to_string).collect())
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
        let problem = "has other characters than visible ASCII";
        let expected = ["secret_id", "secret_key"].map(|part| format!("credentials[0].{part}: {problem}"));
        assert_eq!(faults, expected);
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
                "credentials[0].source",
                "credentials[0].source",
                "credentials[0].duration_s",
                "credentials[1].role_arn",
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
