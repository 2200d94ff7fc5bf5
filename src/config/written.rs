//! What is written in a configuration, so that a later one can be compared with it.

use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use toml::{Table, Value};

/// Settings and sections that are taken anew while the gateway serves. A changed one of the others
/// waits for a restart.
const TAKEN_ANEW: [&str; 5] = ["callers", "flows", "id_card_limits", "log.level", "tencent.quotas"];

/// The settings by path, each as a hash: a change shows, and no secret is kept.
#[derive(Clone, Default)]
pub struct Written(BTreeMap<String, [u8; 32]>);

impl Written {
    pub(super) fn of(table: &Table) -> Self {
        let mut written = Self::default();
        written.add("", table);
        written
    }

    /// A list is one setting.
    fn add(&mut self, above: &str, table: &Table) {
        for (name, value) in table {
            let path = if above.is_empty() { name.clone() } else { format!("{above}.{name}") };
            match value {
                Value::Table(table) => self.add(&path, table),
                value => {
                    self.0.insert(path, Sha256::digest(value.to_string()).into());
                }
            }
        }
    }

    /// The settings that a newer configuration sets otherwise, and that wait for a restart.
    pub fn waiting_for_restart(&self, newer: &Self) -> Vec<String> {
        let paths: BTreeSet<&String> = self.0.keys().chain(newer.0.keys()).collect();
        let waits = |path: &str| !TAKEN_ANEW.iter().any(|anew| is_within(path, anew));
        let changed = paths.into_iter().filter(|path| self.0.get(*path) != newer.0.get(*path));
        changed.filter(|path| waits(path)).cloned().collect()
    }
}

fn is_within(path: &str, section: &str) -> bool {
    path.strip_prefix(section).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str) -> Written {
        Written::of(&text.parse().expect("TOML"))
    }

    #[test]
    fn what_waits_for_a_restart_is_named_by_its_path() {
        let before = written(
            "[grpc]\nlisten = \"a\"\n[log]\nlevel = \"info\"\nformat = \"json\"\n[tencent.quotas]\ndetect_auth = 1\n",
        );
        let after = written(
            "[grpc]\nlisten = \"b\"\n[log]\nlevel = \"warn\"\n[tencent]\nregion = \"c\"\n[[credentials]]\nname = \"d\"\n",
        );
        assert_eq!(before.waiting_for_restart(&after), ["credentials", "grpc.listen", "log.format", "tencent.region"]);
        assert_eq!(before.waiting_for_restart(&before), [""; 0]);
    }

    #[test]
    fn a_setting_with_a_like_name_is_another() {
        assert!(is_within("flows", "flows") && is_within("tencent.quotas.detect_auth", "tencent.quotas"));
        assert!(!is_within("log.levels", "log.level") && !is_within("tencent", "tencent.quotas"));
    }
}
