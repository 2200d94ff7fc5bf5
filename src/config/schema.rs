//! The settings told: as a JSON schema for editors, and as a file with every default for people.

use super::settings::Settings;
use schemars::{generate::SchemaSettings, transform::RecursiveTransform};
use serde::{
    Deserialize, Deserializer,
    de::{Error, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Value;
use std::fmt::{self, Write};

/// The widest line of [`default_file`].
const WIDTH: usize = 100;

const INTRO: &str = "\
Every setting of faceid-gateway with its default. A configuration file holds only what differs. A line that begins with # and no
blank is a setting that has no default, with an example.

Any setting can be given as an environment variable FACEID_GATEWAY__SECTION__KEY, which is used instead of the file's:
FACEID_GATEWAY__TENCENT__TIMEOUT_MS=5000. The lists credentials, flows and callers are given whole, as TOML: FACEID_GATEWAY__CALLERS='[{name=\"orders\"}]'. An empty variable unsets a setting that has no
default.

Every secret is given as a value (KEY) or in a file (KEY_file), never both. A file's last line break is not part of it, and users
who are neither its owner nor of its group must not be able to read it. Unknown settings are errors.";

/// The JSON schema of a configuration file.
pub fn json_schema() -> Value {
    let mut settings = SchemaSettings::draft2020_12().with_transform(RecursiveTransform(as_in_toml));
    settings.inline_subschemas = true;
    let mut schema = settings.into_generator().into_root_schema_for::<Settings>().to_value();
    schema["title"] = "Configuration of faceid-gateway".into();
    schema
}

/// TOML has no null, and a number's bounds say more than the size that Rust stores it in.
fn as_in_toml(schema: &mut schemars::Schema) {
    let Some(schema) = schema.as_object_mut() else { return };
    schema.remove("format");
    if let Some(Value::String(description)) = schema.get_mut("description") {
        *description = paragraphs(description).join("\n");
    }
    if schema.get("default").is_some_and(|default| default.is_null() || default.is_object()) {
        schema.remove("default");
    }
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|kind| kind != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if let Some(Value::Array(choices)) = schema.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type").is_none_or(|kind| kind != "null"));
        if let [only] = choices.as_slice() {
            let only = only.clone();
            schema.remove("anyOf");
            for (key, value) in only.as_object().into_iter().flatten() {
                schema.entry(key.clone()).or_insert_with(|| value.clone());
            }
        }
    }
}

/// The sections in the order in which they are documented.
pub(super) fn section_names() -> Vec<String> {
    Keys::of_settings().0.into_iter().map(|(name, _)| name).collect()
}

/// Every setting with its default and meaning, as TOML.
pub fn default_file() -> String {
    let schema = json_schema();
    let mut text = String::new();
    comment(&mut text, INTRO);
    for (name, section, keys) in Keys::of_settings().properties(&schema) {
        write_section(&mut text, name, section, keys, false);
    }
    text
}

/// The keys of an object in the order in which they are declared, which a schema does not keep; of
/// a list, those of its first entry.
#[derive(Default)]
struct Keys(Vec<(String, Keys)>);

impl Keys {
    /// Every section that may be left out.
    const ALL: &str =
        "[grpc.tls]\n[auth.jwt]\n[auth.mtls]\n[[credentials]]\n[[flows]]\n[flows.encryption]\n[[callers]]";

    fn of_settings() -> Self {
        let settings: Settings = toml::from_str(Self::ALL).expect("nothing has to be given to be read");
        let json = serde_json::to_string(&settings).expect("settings are JSON");
        serde_json::from_str(&json).expect("it was just written")
    }

    /// Each property of a schema, with the keys inside of it.
    fn properties<'a>(&'a self, schema: &'a Value) -> impl Iterator<Item = (&'a str, &'a Value, &'a Self)> {
        self.0.iter().filter_map(|(name, keys)| Some((name.as_str(), schema.get("properties")?.get(name)?, keys)))
    }
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Keys;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Keys, A::Error> {
                let mut keys = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    keys.push(entry);
                }
                Ok(Keys(keys))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Keys, A::Error> {
                let first = list.next_element()?;
                while list.next_element::<IgnoredAny>()?.is_some() {}
                Ok(first.unwrap_or_default())
            }

            fn visit_str<E: Error>(self, _: &str) -> Result<Keys, E> {
                Ok(Keys::default())
            }

            fn visit_u64<E: Error>(self, _: u64) -> Result<Keys, E> {
                Ok(Keys::default())
            }

            fn visit_bool<E: Error>(self, _: bool) -> Result<Keys, E> {
                Ok(Keys::default())
            }

            fn visit_unit<E: Error>(self) -> Result<Keys, E> {
                Ok(Keys::default())
            }
        }

        deserializer.deserialize_any(InOrder)
    }
}

/// A table, or the first of a list of tables. What may be left out is commented out.
fn write_section(text: &mut String, path: &str, section: &Value, keys: &Keys, is_inside_comment: bool) {
    let (table, header) = match section.get("items").filter(|_| is_list_of_tables(section)) {
        Some(item) => (item, format!("[[{path}]]")),
        None => (section, format!("[{path}]")),
    };
    let is_comment = is_inside_comment || is_list_of_tables(section) || table.get("required").is_some();
    let mark = if is_comment { "#" } else { "" };
    text.push('\n');
    comment(text, description(section).or_else(|| description(table)).unwrap_or_default());
    writeln!(text, "{mark}{header}").expect("a String takes it");
    let (settings, sections): (Vec<_>, Vec<_>) =
        keys.properties(table).partition(|(_, inner, _)| inner.get("properties").is_none());
    for (name, setting, _) in settings {
        write_setting(text, name, setting, is_comment);
    }
    for (name, inner, keys) in sections {
        write_section(text, &format!("{path}.{name}"), inner, keys, is_comment);
    }
}

fn write_setting(text: &mut String, name: &str, setting: &Value, is_inside_comment: bool) {
    let mut about = description(setting).unwrap_or_default().to_owned();
    about += &choices(setting);
    comment(text, &about);
    let example = setting.get("examples").and_then(|examples| examples.get(0));
    let default = setting.get("default");
    let (shown, is_set) = match (example.filter(|_| is_inside_comment), default) {
        (Some(example), _) => (example, false),
        (None, Some(default)) => (default, true),
        (None, None) => (example.unwrap_or(&Value::Null), false),
    };
    let mark = if is_inside_comment || !is_set { "#" } else { "" };
    let value = if shown.is_null() { "\"…\"".to_owned() } else { toml_value(shown) };
    writeln!(text, "{mark}{name} = {value}").expect("a String takes it");
}

fn toml_value(value: &Value) -> String {
    match value.as_array() {
        Some(items) => format!("[{}]", items.iter().map(toml_value).collect::<Vec<_>>().join(", ")),
        // Of what settings are made of, texts, numbers and booleans, JSON is TOML.
        None => value.to_string(),
    }
}

/// The values that may be set, where the schema knows them.
fn choices(setting: &Value) -> String {
    let values = |schema: &Value| -> Option<Vec<String>> {
        let constants = schema
            .get("oneOf")
            .and_then(Value::as_array)
            .map(|all| all.iter().filter_map(|one| one.get("const")).collect::<Vec<_>>());
        let all = schema.get("enum").and_then(Value::as_array).map(|all| all.iter().collect()).or(constants)?;
        Some(all.iter().filter_map(|value| value.as_str()).map(str::to_owned).collect())
    };
    let inner = setting.get("items").or_else(|| setting.get("anyOf").and_then(|choices| choices.get(0)));
    if let Some(values) = values(setting).or_else(|| inner.and_then(values)) {
        return format!(" One of: {}.", values.join(", "));
    }
    let bounds = inner.filter(|inner| inner.get("minimum").is_some()).unwrap_or(setting);
    match (bounds.get("minimum"), bounds.get("maximum").filter(|maximum| **maximum != u32::MAX)) {
        (Some(minimum), Some(maximum)) => format!(" {minimum} to {maximum}."),
        _ => String::new(),
    }
}

fn is_list_of_tables(schema: &Value) -> bool {
    schema.get("items").is_some_and(|item| item.get("properties").is_some())
}

fn description(schema: &Value) -> Option<&str> {
    schema.get("description").and_then(Value::as_str)
}

/// A text as comments, wrapped.
fn comment(text: &mut String, about: &str) {
    for paragraph in paragraphs(about) {
        let mut line = String::from("#");
        for word in paragraph.replace('`', "").split_whitespace() {
            if line.chars().count() + 1 + word.chars().count() > WIDTH {
                writeln!(text, "{line}").expect("a String takes it");
                line = String::from(if paragraph.starts_with("- ") { "#  " } else { "#" });
            }
            line += " ";
            line += word;
        }
        writeln!(text, "{line}").expect("a String takes it");
    }
}

/// Paragraphs and items of a list as a line each, however they were wrapped; empty lines stay.
fn paragraphs(text: &str) -> Vec<String> {
    let mut paragraphs: Vec<String> = Vec::new();
    let mut is_new = true;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with("- ") || is_new {
            paragraphs.push(line.to_owned());
        } else if let Some(last) = paragraphs.last_mut() {
            *last += " ";
            *last += line;
        }
        is_new = line.is_empty();
    }
    paragraphs
}

#[cfg(test)]
mod tests {
    use super::{super::layers::Layers, *};
    use std::{env, fs, path::Path};
    use toml::Table;

    const FILE: &str = "docs/configuration.schema.json";

    /// Everything that can be set, with an example where there is no default.
    fn uncommented() -> String {
        let line = |line: &str| match line.strip_prefix('#') {
            Some(setting) if !setting.is_empty() && !setting.starts_with(' ') => setting.to_owned(),
            _ => line.to_owned(),
        };
        default_file().lines().map(|text| line(text) + "\n").collect()
    }

    /// Compares what the schema says with what was set, setting by setting.
    fn each_setting(schema: &Value, path: &str, see: &mut impl FnMut(&str, &Value)) {
        for (name, setting) in schema["properties"].as_object().unwrap() {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            let inner = setting.get("items").filter(|_| is_list_of_tables(setting)).unwrap_or(setting);
            if inner.get("properties").is_some() {
                each_setting(inner, &path, see);
            } else {
                see(&path, setting);
            }
        }
    }

    /// The value at a path; of a list of tables, that of its first.
    fn value_at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
        path.split('.').try_fold(value, |value, key| value.get(0).unwrap_or(value).get(key))
    }

    #[test]
    fn the_schema_of_the_documents_is_up_to_date() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
        let schema = serde_json::to_string_pretty(&json_schema()).unwrap() + "\n";
        if env::var_os("UPDATE_DOCS").is_some() {
            fs::write(&path, &schema).unwrap();
        }
        let written = fs::read_to_string(&path).unwrap_or_default();
        assert!(written == schema, "{FILE} is not what the settings are: UPDATE_DOCS=1 cargo test --lib schema");
    }

    #[test]
    fn the_printed_defaults_are_those_that_the_code_uses() {
        let (settings, _) = Layers::parse(Keys::ALL).ok().unwrap().read();
        let used = serde_json::to_value(settings).unwrap();
        let printed: Value = toml::from_str(&default_file()).unwrap();
        let all = serde_json::to_value(uncommented().parse::<Table>().unwrap()).unwrap();
        let mut compared = 0;
        each_setting(&json_schema(), "", &mut |path, setting| {
            let of_code = value_at(&used, path).filter(|value| !value.is_null());
            assert_eq!(setting.get("default"), of_code, "{path}");
            let is_set = value_at(&printed, path);
            assert!(is_set.is_none() || is_set == of_code, "{path}");
            // Also where it is commented out, in a section that is.
            if setting.get("examples").is_none() && of_code.is_some() {
                assert_eq!(value_at(&all, path), of_code, "{path}");
                compared += 1;
            }
        });
        assert!(compared > 35, "{compared}");
    }

    #[test]
    fn every_setting_is_printed_and_can_be_read_back() {
        let text = uncommented();
        let sample = serde_json::to_value(text.parse::<Table>().unwrap()).unwrap();
        each_setting(&json_schema(), "", &mut |path, setting| {
            let is_secret = setting.get("writeOnly").is_some();
            assert_eq!(value_at(&sample, path).is_none(), is_secret, "{path}");
            assert!(
                is_secret || description(setting).is_some_and(|text| !text.is_empty()),
                "{path} has no description"
            );
        });
        let (_, found) = Layers::parse(&text).ok().unwrap().read();
        let faults = found.join(crate::domain::fault::Faults::default());
        assert!(faults.is_empty(), "{faults:#?}");
        for line in text.lines() {
            assert!(!line.starts_with('#') || line.chars().count() <= WIDTH, "{line}");
        }
    }
}
