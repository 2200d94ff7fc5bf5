//! Puts the layers together, the file and the environment over it, and reads the settings out of
//! them.
//!
//! serde stops at the first fault. So it is asked again, without what was at fault, until nothing
//! is: an operator learns all faults at once.

use super::{schema::section_names, settings::Settings, written::Written};
use crate::domain::fault::{Fault, Faults};
use serde_path_to_error::{Path, Segment};
use std::{collections::BTreeMap, mem, str::FromStr};
use toml::{Table, Value};

const ENV_PREFIX: &str = "FACEID_GATEWAY__";
/// No operator reads more, and each costs another look at the whole.
const MAX_FAULTS: usize = 100;

/// The text of a file with environment variables over it.
pub(super) struct Layers {
    table: Table,
    /// The variable that set a path.
    from_environment: BTreeMap<String, String>,
}

/// Why and where a text is no TOML. Does not quote it: it may hold a secret.
pub(super) struct NotToml {
    pub(super) problem: String,
    pub(super) line: usize,
    pub(super) column: usize,
}

impl Layers {
    pub(super) fn parse(text: &str) -> Result<Self, NotToml> {
        let table = Table::from_str(text).map_err(|error| {
            let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or(text);
            let line_start = before.rfind('\n').map_or(0, |at| at + 1);
            NotToml {
                problem: error.message().to_owned(),
                line: before.matches('\n').count() + 1,
                column: before[line_start..].chars().count() + 1,
            }
        })?;
        Ok(Self { table, from_environment: BTreeMap::new() })
    }

    /// Puts a variable over the file. One that is none of ours is given back.
    pub(super) fn set(&mut self, variable: String, value: String) -> Option<(String, String)> {
        let Some(path) = variable.strip_prefix(ENV_PREFIX).map(str::to_ascii_lowercase) else {
            return Some((variable, value));
        };
        let keys: Vec<&str> = path.split("__").collect();
        // A list or a table is written as TOML; whether another text is a number is seen when one
        // is expected.
        let value = if value.starts_with(['[', '{']) { parsed(&value) } else { None }.unwrap_or(Value::String(value));
        put(&mut self.table, &keys, value);
        self.from_environment.insert(keys.join("."), variable);
        None
    }

    /// What is set, so that a later reading can be compared with it.
    pub(super) fn written(&self) -> Written {
        Written::of(&self.table)
    }

    /// The settings, and what was wrong: what was at fault is left out, or has its default.
    pub(super) fn read(self) -> (Settings, Found) {
        let mut found = Found { faults: Vec::new(), removed: BTreeMap::new(), from_environment: self.from_environment };
        let mut root = Value::Table(self.table);
        loop {
            let error = match serde_path_to_error::deserialize(root.clone()) {
                Ok(settings) => return (settings, found),
                Err(error) => error,
            };
            let (path, problem) = (error.path(), problem_of(error.inner()));
            if found.faults.len() >= MAX_FAULTS || !found.leave_out(&mut root, path, &problem) {
                found.faults.push(Fault { field: path.to_string(), problem });
                return (Settings::default(), found);
            }
        }
    }
}

/// The faults of reading, and the paths by which an operator knows the rest.
pub(super) struct Found {
    faults: Vec<Fault>,
    /// Places of list entries that were left out, by the list's path: those after them have moved
    /// up.
    removed: BTreeMap<String, Vec<usize>>,
    from_environment: BTreeMap<String, String>,
}

impl Found {
    pub(super) fn is_at(&self, path: &str) -> bool {
        self.faults.iter().any(|fault| is_within(&fault.field, path))
    }

    /// All faults: those of reading, and those of converting that are not of the same cause.
    pub(super) fn join(mut self, converting: Faults) -> Vec<Fault> {
        let reading = mem::take(&mut self.faults);
        let is_known = |fault: &Fault| reading.iter().any(|known| follows_from(&fault.field, &known.field));
        let converting =
            converting.into_vec().into_iter().map(|fault| Fault { field: self.as_written(fault.field), ..fault });
        let converting: Vec<Fault> = converting.filter(|fault| !is_known(fault)).collect();
        let mut faults: Vec<Fault> = reading.into_iter().chain(converting).collect();
        for fault in &mut faults {
            let variable = self
                .from_environment
                .iter()
                .find(|(path, _)| is_within(path, &fault.field) || is_within(&fault.field, path));
            if let Some((_, variable)) = variable {
                fault.problem += &format!(" (from {variable})");
            }
        }
        sort_by_place(&mut faults);
        faults
    }

    /// Notes the fault and takes its cause out, or reads the text of a variable as what was
    /// expected. False: there is nothing to take out.
    fn leave_out(&mut self, root: &mut Value, path: &Path, problem: &str) -> bool {
        let segments: Vec<&Segment> =
            path.iter().filter(|segment| matches!(segment, Segment::Map { .. } | Segment::Seq { .. })).collect();
        let name = path.to_string();
        let Some((last, above)) = segments.split_last() else { return false };
        let field = match (last, at(root, above)) {
            (Segment::Map { key }, Some(Value::Table(table))) => {
                let text = table.get(key).and_then(Value::as_str).filter(|_| self.from_environment.contains_key(&name));
                if let Some(value) = text.and_then(parsed).filter(|value| !value.is_str()) {
                    table.insert(key.clone(), value);
                    return true;
                }
                if table.remove(key).is_none() {
                    return false;
                }
                name
            }
            (Segment::Seq { index }, Some(Value::Array(list)))
                if problem == NOT_A_SECTION && !list[*index].is_table() =>
            {
                list[*index] = Value::Table(Table::new());
                name
            }
            (Segment::Seq { index }, Some(Value::Array(list))) => {
                list.remove(*index);
                let list_path = name.rsplit_once('[').map_or(name.as_str(), |(list, _)| list).to_owned();
                let field = self.as_written(name);
                let places = self.removed.entry(list_path).or_default();
                places.push(place_of(&field));
                places.sort_unstable();
                field
            }
            _ => return false,
        };
        self.faults.push(Fault { field, problem: problem.to_owned() });
        true
    }

    /// The path with the places that list entries have in the file.
    fn as_written(&self, path: String) -> String {
        let Some((list, rest)) = path.rsplit_once('[') else { return path };
        let (Some(removed), Some((index, rest))) = (self.removed.get(list), rest.split_once(']')) else { return path };
        let Ok(index) = index.parse::<usize>() else { return path };
        let place = removed.iter().fold(index, |place, removed| if *removed <= place { place + 1 } else { place });
        format!("{list}[{place}]{rest}")
    }
}

fn place_of(path: &str) -> usize {
    path.rsplit_once('[').and_then(|(_, index)| index.trim_end_matches(']').parse().ok()).unwrap_or_default()
}

/// Whether a fault of converting is there because of one of reading: it is at the same place,
/// inside of it or around it, or what is needed there depends on a `source` that is at fault.
fn follows_from(fault: &str, known: &str) -> bool {
    is_within(fault, known)
        || is_within(known, fault)
        || known.strip_suffix(".source").is_some_and(|entry| is_within(fault, entry))
}

/// The order in which an operator reads them: that of the sections, and of the entries of a list.
fn sort_by_place(faults: &mut [Fault]) {
    let sections = section_names();
    faults.sort_by_cached_key(|fault| {
        let section = fault.field.split(['.', '[']).next().unwrap_or_default();
        let entry = fault.field.strip_prefix(section).and_then(|rest| rest.strip_prefix('['));
        let entry = entry.and_then(|rest| rest.split(']').next()?.parse::<usize>().ok());
        (sections.iter().position(|name| name == section).unwrap_or(sections.len()), entry)
    });
}

/// Whether a path is another one, or inside of it.
fn is_within(path: &str, outer: &str) -> bool {
    path.strip_prefix(outer).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Sets a value; what is no section on the way becomes one, and is found at fault.
fn put(table: &mut Table, path: &[&str], value: Value) {
    match path {
        [] => {}
        [key] => {
            table.insert((*key).to_owned(), value);
        }
        [section, rest @ ..] => {
            let inner = table.entry(*section).or_insert_with(|| Value::Table(Table::new()));
            if !inner.is_table() {
                *inner = Value::Table(Table::new());
            }
            if let Value::Table(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

fn at<'a>(root: &'a mut Value, path: &[&Segment]) -> Option<&'a mut Value> {
    path.iter().try_fold(root, |value, segment| match segment {
        Segment::Map { key } => value.get_mut(key.as_str()),
        Segment::Seq { index } => value.get_mut(*index),
        Segment::Enum { .. } | Segment::Unknown => None,
    })
}

/// A value as TOML writes it.
fn parsed(text: &str) -> Option<Value> {
    Table::from_str(&format!("value = {text}")).ok()?.remove("value")
}

const NOT_A_SECTION: &str = "is not a section";

/// The error in our words. serde's own would quote the value, which may be a secret: only what was
/// expected is taken over.
fn problem_of(error: &toml::de::Error) -> String {
    let message = error.message();
    if message.starts_with("unknown field") {
        return "is not a setting of this version".to_owned();
    }
    if let Some((_, choices)) = message.rsplit_once("expected ").filter(|_| message.starts_with("unknown variant")) {
        let choices = choices.replace('`', "");
        return match choices.split_once(" or ") {
            Some((one, other)) => format!("is neither {one} nor {other}"),
            None => format!("is not {choices}"),
        };
    }
    let expected =
        message.rsplit_once("expected ").map_or("of another type", |(_, expected)| expected).replace('`', "");
    match expected.as_str() {
        text if text.starts_with("struct ") => NOT_A_SECTION.to_owned(),
        "a sequence" => "is not a list".to_owned(),
        "a string" | "string or table" | "string only" => "is not a text".to_owned(),
        "a boolean" => "is neither true nor false".to_owned(),
        text => format!("is not {text}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str, environment: &[(&str, &str)]) -> Vec<String> {
        let mut layers = Layers::parse(text).ok().unwrap();
        for (name, value) in environment {
            assert!(layers.set((*name).to_owned(), (*value).to_owned()).is_none(), "{name}");
        }
        let (_, found) = layers.read();
        found.join(Faults::default()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_no_toml_has_its_line_and_column() {
        let error = Layers::parse("[vault]\n密 = 1\nkeys = k1:SECRET").err().unwrap();
        assert_eq!((error.line, error.column), (2, 1), "{}", error.problem);
        let error = Layers::parse("[vault]\nkeys = k1:SECRET").err().unwrap();
        assert_eq!((error.line, error.column), (2, 8), "{}", error.problem);
        assert!(!error.problem.contains("SECRET"));
    }

    #[test]
    fn entries_keep_the_places_that_they_have_in_the_file() {
        let text = "[auth]\nopen = ['all', 'health', 'most', 'reflection', 7]\n\
                    [reconcile]\npoll_after_minutes = [0, 5, 120]";
        assert_eq!(
            faults(text, &[]),
            [
                "reconcile.poll_after_minutes[0]: is not a number from 1 to 119",
                "reconcile.poll_after_minutes[2]: is not a number from 1 to 119",
                "auth.open[0]: is neither health nor reflection",
                "auth.open[2]: is neither health nor reflection",
                "auth.open[4]: is not a text",
            ]
        );
        let (_, found) = Layers::parse("[[callers]]\nrights = ['root', 'audit', 'x', 'admin']").ok().unwrap().read();
        assert_eq!(found.as_written("callers[0].rights[1]".into()), "callers[0].rights[3]");
    }

    #[test]
    fn what_is_no_section_and_no_list_is_told_once() {
        assert_eq!(
            faults("grpc = 1\nflows = [1, {}]\ncallers = {}\n[telemetry.x]", &[]),
            [
                "grpc: is not a section",
                "telemetry.x: is not a setting of this version",
                "flows[0]: is not a section",
                "callers: is not a list",
            ]
        );
    }

    #[test]
    fn a_fault_never_quotes_what_was_given() {
        let secret = "S3CRET, expected a string";
        let everything = format!(
            "[vault]\nkeys = ['{secret}']\n[tencent]\ntimeout_ms = '{secret}'\nproxy = {{ '{secret}' = 1 }}\n\
             [log]\nlevel = '{secret}'\n[drain]\ndelay_s = 31337\n[[credentials]]\nsecret_key = 31337\nsource = '{secret}'"
        );
        let faults = faults(&everything, &[("FACEID_GATEWAY__GRPC__TLS", secret)]);
        assert_eq!(faults.len(), 8, "{faults:#?}");
        assert!(!faults.iter().any(|fault| fault.contains("S3CRET") || fault.contains("31337")), "{faults:#?}");
    }

    #[test]
    fn a_variable_is_read_as_what_the_setting_is() {
        let variables = [
            ("FACEID_GATEWAY__TENCENT__TIMEOUT_MS", "500"),
            ("FACEID_GATEWAY__TENCENT__QUOTAS__DETECT_AUTH", "7"),
            ("FACEID_GATEWAY__TENCENT__BACKUP_ENDPOINTS", "['https://a.example/']"),
            ("FACEID_GATEWAY__AUTH__MODE", "[\"tokens\", \"jwt\"]"),
            ("FACEID_GATEWAY__FLOWS", "[{ name = 'f', rule_id = '1', requires = [] }]"),
            ("FACEID_GATEWAY__GRPC__LISTEN", "[::1]:50051"),
        ];
        assert!(faults("", &variables).is_empty(), "{:#?}", faults("", &variables));
        assert_eq!(
            faults("", &[("FACEID_GATEWAY__TENCENT__TIMEOUT_MS", "5 s"), ("FACEID_GATEWAY__LOG__LEVEL", "warning")]),
            [
                "tencent.timeout_ms: is not a number from 100 to 60000 (from FACEID_GATEWAY__TENCENT__TIMEOUT_MS)",
                "log.level: is not one of error, warn, info, debug, trace (from FACEID_GATEWAY__LOG__LEVEL)",
            ]
        );
    }

    #[test]
    fn the_number_of_faults_is_bounded() {
        let text: String = (0..10 * MAX_FAULTS).map(|i| format!("x{i} = 1\n")).collect();
        assert_eq!(faults(&text, &[]).len(), MAX_FAULTS + 1);
    }
}
