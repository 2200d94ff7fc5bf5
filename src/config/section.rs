//! Reads a TOML table key by key and notes every fault, so that an operator learns all of them at once. What was not read is
//! an unknown key.

use crate::domain::fault::Faults;
use secrecy::SecretString;
use std::{fs, path::Path, str::FromStr};
use toml::{Table, Value};
use zeroize::Zeroizing;

/// A table of the configuration and its path.
pub(super) struct Section {
    path: String,
    table: Table,
}

impl Section {
    /// The top of the configuration.
    pub(super) fn root(table: Table) -> Self {
        Self { path: String::new(), table }
    }

    /// The path of a key, for faults.
    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// The path of the section itself.
    pub(super) fn own_path(&self) -> &str {
        &self.path
    }

    /// Whether a key is given.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// A table inside. A missing one is an empty one.
    pub(super) fn section(&mut self, key: &str, faults: &mut Faults) -> Self {
        let path = self.path_of(key);
        let table = match self.table.remove(key) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(_) => {
                faults.add(&path, "is not a section");
                Table::new()
            }
        };
        Self { path, table }
    }

    /// A list of tables.
    pub(super) fn sections(&mut self, key: &str, faults: &mut Faults) -> Vec<Self> {
        let path = self.path_of(key);
        let mut sections = Vec::new();
        for (i, item) in self.list(key, faults).into_iter().enumerate() {
            let path = format!("{path}[{i}]");
            match item {
                Value::Table(table) => sections.push(Self { path, table }),
                _ => faults.add(path, "is not a table"),
            }
        }
        sections
    }

    /// A text that may be missing. Numbers and booleans are texts too: environment variables have no types.
    pub(super) fn text(&mut self, key: &str, faults: &mut Faults) -> Option<String> {
        match self.table.remove(key)? {
            Value::String(text) => Some(text),
            Value::Integer(number) => Some(number.to_string()),
            Value::Boolean(value) => Some(value.to_string()),
            Value::Float(_) | Value::Datetime(_) | Value::Array(_) | Value::Table(_) => {
                faults.add(self.path_of(key), "is not a text");
                None
            }
        }
    }

    /// A text that must be there.
    pub(super) fn required_text(&mut self, key: &str, faults: &mut Faults) -> Option<String> {
        let given = self.table.contains_key(key);
        match self.text(key, faults) {
            Some(text) if !text.is_empty() => Some(text),
            None if given => None,
            Some(_) | None => {
                faults.add(self.path_of(key), "is missing");
                None
            }
        }
    }

    /// A text that must be there, read as something else.
    pub(super) fn parsed<T>(
        &mut self,
        key: &str,
        faults: &mut Faults,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let path = self.path_of(key);
        let text = self.required_text(key, faults)?;
        faults.check(&path, parse(&text))
    }

    /// A text that may be missing, read as something else.
    pub(super) fn parsed_or<T>(
        &mut self,
        key: &str,
        default: &str,
        faults: &mut Faults,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        self.table.entry(key).or_insert_with(|| Value::String(default.to_owned()));
        self.parsed(key, faults, parse)
    }

    /// A list of texts that may be missing.
    pub(super) fn texts(&mut self, key: &str, faults: &mut Faults) -> Vec<String> {
        let path = self.path_of(key);
        let mut texts = Vec::new();
        for (i, item) in self.list(key, faults).into_iter().enumerate() {
            match item {
                Value::String(text) => texts.push(text),
                Value::Integer(number) => texts.push(number.to_string()),
                _ => faults.add(format!("{path}[{i}]"), "is not a text"),
            }
        }
        texts
    }

    /// A list of texts, or a single text. Empty when missing.
    pub(super) fn one_or_more(&mut self, key: &str, faults: &mut Faults) -> Vec<String> {
        match self.table.get(key) {
            // From the environment a list comes as a text.
            Some(Value::String(text)) if !text.trim_start().starts_with('[') => {
                self.text(key, faults).filter(|text| !text.is_empty()).into_iter().collect()
            }
            _ => self.texts(key, faults),
        }
    }

    /// A list of texts, each read as something else.
    pub(super) fn parsed_list<T>(
        &mut self,
        key: &str,
        faults: &mut Faults,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Vec<T> {
        let path = self.path_of(key);
        let texts = self.texts(key, faults);
        texts.iter().enumerate().filter_map(|(i, text)| faults.check(&format!("{path}[{i}]"), parse(text))).collect()
    }

    /// A secret that must be there, as the value of `key` or in the file that `key_file` names. A file's last line break is
    /// not part of it.
    pub(super) fn secret(&mut self, key: &str, faults: &mut Faults) -> Option<SecretString> {
        let file_key = format!("{key}_file");
        let (path, file_path) = (self.path_of(key), self.path_of(&file_key));
        match (self.text(key, faults), self.text(&file_key, faults)) {
            (Some(_), Some(_)) => {
                faults.add(path, format!("is given twice: as a value and as {file_path}"));
                None
            }
            (Some(value), None) => Some(value),
            (None, Some(file)) => faults.check(
                &file_path,
                fs::read_to_string(Path::new(&file))
                    .map(Zeroizing::new)
                    .map(|text| text.trim_end_matches(['\r', '\n']).to_owned())
                    .map_err(|error| format!("cannot be read: {error}")),
            ),
            (None, None) => {
                faults.add(path, format!("is missing; set it or {file_path}"));
                return None;
            }
        }
        .map(Zeroizing::new)
        .and_then(|value| {
            if value.trim().is_empty() {
                faults.add(self.path_of(key), "is empty");
                return None;
            }
            Some(SecretString::from(value.as_str()))
        })
    }

    /// Notes what was not read.
    pub(super) fn finish(self, faults: &mut Faults) {
        for key in self.table.keys() {
            faults.add(self.path_of(key), "is not a setting of this version");
        }
    }

    fn list(&mut self, key: &str, faults: &mut Faults) -> Vec<Value> {
        match self.table.remove(key) {
            None => Vec::new(),
            Some(Value::Array(items)) => items,
            // From the environment: the list as TOML.
            Some(Value::String(text)) => match Table::from_str(&format!("list = {text}")).map(|mut t| t.remove("list"))
            {
                Ok(Some(Value::Array(items))) => items,
                _ => {
                    faults.add(self.path_of(key), "is not a list");
                    Vec::new()
                }
            },
            Some(_) => {
                faults.add(self.path_of(key), "is not a list");
                Vec::new()
            }
        }
    }
}
