//! An answer of the vendor as a tree from which fields are taken, each in every spelling that can
//! mean only one thing.
//!
//! null, "", {} and [] are absent: none of them is a fact. A number may be written as a text, and a
//! text as a number. A value that cannot be read as what it should be stays in the tree, like a
//! field that nobody knows; what is left at the end is kept beside the result. So an odd value
//! costs itself and nothing else, unless a verdict depends on it: then it is an error.

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};
use std::{collections::BTreeMap, fmt};

/// How much is kept of what has no place, in characters of paths and values together.
const MAX_LEFTOVERS: usize = 64 * 1024;
/// The path under which the number of dropped leaves is told.
const DROPPED: &str = "(dropped)";

/// The answer, or what is left of it.
#[derive(Default)]
pub(in crate::tencent) struct Tree(Value);

/// An object in the tree, or none.
pub(super) struct Object<'a> {
    fields: Option<&'a mut Map<String, Value>>,
}

/// A value that decides something cannot be read. Names the field and not the value, which may be
/// personal.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::tencent) struct Undecidable(pub(super) &'static str);

impl Tree {
    /// The answer itself. One that is no object has no fields.
    pub(super) fn root(&mut self) -> Object<'_> {
        Object { fields: self.0.as_object_mut() }
    }

    /// A flag at the top, left where it is.
    pub(super) fn has_flag(&self, name: &str) -> bool {
        self.0.get(name).and_then(read_boolean) == Some(true)
    }

    /// The value at a path such as `Text.LivenessDetail[0].Name`.
    pub(super) fn at(&mut self, path: &str) -> Option<&mut Value> {
        let mut value = &mut self.0;
        for part in path.split('.') {
            let (name, indices) = part.split_once('[').map_or((part, ""), |(name, rest)| (name, rest));
            value = value.get_mut(name)?;
            for index in indices.split_terminator('[').filter(|index| !index.is_empty()) {
                value = value.get_mut(index.strip_suffix(']')?.parse::<usize>().ok()?)?;
            }
        }
        Some(value)
    }

    /// Everything that was not taken and is not absent, by dotted path.
    pub(super) fn leftovers(self) -> BTreeMap<String, String> {
        let mut left = Leftovers::default();
        left.collect(String::new(), &self.0);
        if left.dropped > 0 {
            left.found.insert(DROPPED.into(), left.dropped.to_string());
        }
        left.found
    }

    #[cfg(test)]
    pub(super) fn into_value(self) -> Value {
        self.0
    }

    /// Adds what another answer has at its top, where this one has nothing of the name.
    pub(super) fn complete_with(&mut self, other: Self) {
        if let (Value::Object(fields), Value::Object(others)) = (&mut self.0, other.0) {
            for (name, value) in others {
                fields.entry(name).or_insert(value);
            }
        }
    }
}

impl Object<'_> {
    /// Whether it is there and has fields, be they null.
    pub(super) fn is_there(&self) -> bool {
        self.fields.as_ref().is_some_and(|fields| !fields.is_empty())
    }

    /// Whether there is something of this name that was not taken.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| !is_absent(value))
    }

    pub(super) fn text(&mut self, name: &str) -> Option<String> {
        self.take(name, read_text)
    }

    pub(super) fn integer(&mut self, name: &str) -> Option<i64> {
        self.take(name, read_integer)
    }

    pub(super) fn boolean(&mut self, name: &str) -> Option<bool> {
        self.take(name, read_boolean)
    }

    /// An integer on which a verdict depends.
    pub(super) fn deciding_integer(&mut self, name: &'static str) -> Result<Option<i64>, Undecidable> {
        self.deciding(name, read_integer)
    }

    /// A boolean on which a verdict depends.
    pub(super) fn deciding_boolean(&mut self, name: &'static str) -> Result<Option<bool>, Undecidable> {
        self.deciding(name, read_boolean)
    }

    /// An object on which a verdict depends; absent, or with its fields.
    pub(super) fn deciding_object(&mut self, name: &'static str) -> Result<Object<'_>, Undecidable> {
        let value = self.get(name);
        if value.is_some_and(|value| !is_absent(value) && !value.is_object()) {
            return Err(Undecidable(name));
        }
        Ok(self.object(name))
    }

    pub(super) fn object(&mut self, name: &str) -> Object<'_> {
        let fields = self.fields.as_mut().and_then(|fields| fields.get_mut(name));
        Object { fields: fields.and_then(Value::as_object_mut) }
    }

    /// The objects of a list. An element that is none stays.
    pub(super) fn objects(&mut self, name: &str) -> Vec<Object<'_>> {
        let list = self.fields.as_mut().and_then(|fields| fields.get_mut(name));
        let elements = list.and_then(Value::as_array_mut).into_iter().flatten();
        elements.filter_map(Value::as_object_mut).map(|fields| Object { fields: Some(fields) }).collect()
    }

    /// A list all of whose elements can be read; absent ones are left out.
    pub(super) fn texts(&mut self, name: &str) -> Vec<String> {
        self.take(name, |value| read_list(value, read_text)).unwrap_or_default()
    }

    /// As [`Object::texts`].
    pub(super) fn integers(&mut self, name: &str) -> Vec<i64> {
        self.take(name, |value| read_list(value, read_integer)).unwrap_or_default()
    }

    /// As [`Object::texts`], with absent elements as empty texts: where the place of an element
    /// counts.
    pub(super) fn texts_in_place(&mut self, name: &str) -> Vec<String> {
        let read = |value: &Value| if is_absent(value) { Some(String::new()) } else { read_text(value) };
        self.take(name, |value| value.as_array()?.iter().map(read).collect()).unwrap_or_default()
    }

    /// Takes a field out if it can be read.
    pub(super) fn take<T>(&mut self, name: &str, read: impl FnOnce(&Value) -> Option<T>) -> Option<T> {
        let taken = read(self.get(name).filter(|value| !is_absent(value))?)?;
        self.fields.as_mut()?.remove(name);
        Some(taken)
    }

    /// Whether anything in a field, whatever its depth, is not absent.
    pub(super) fn holds_something(&self, name: &str) -> bool {
        fn holds(value: &Value) -> bool {
            match value {
                Value::Array(list) => list.iter().any(holds),
                Value::Object(fields) => fields.values().any(holds),
                value => !is_absent(value),
            }
        }
        self.get(name).is_some_and(holds)
    }

    /// Takes texts of more than `limit` bytes out of a field, whatever their depth, and forgets
    /// them.
    pub(super) fn drop_long_texts(&mut self, name: &str, limit: usize) {
        fn drop_in(value: &mut Value, limit: usize) {
            match value {
                Value::String(text) if text.len() > limit => *value = Value::Null,
                Value::Array(list) => list.iter_mut().for_each(|value| drop_in(value, limit)),
                Value::Object(fields) => fields.values_mut().for_each(|value| drop_in(value, limit)),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        if let Some(value) = self.fields.as_mut().and_then(|fields| fields.get_mut(name)) {
            drop_in(value, limit);
        }
    }

    /// Takes a field out and forgets it.
    pub(super) fn drop(&mut self, name: &str) {
        if let Some(fields) = &mut self.fields {
            fields.remove(name);
        }
    }

    fn deciding<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, Undecidable> {
        let taken = self.take(name, read);
        match self.get(name) {
            Some(left) if !is_absent(left) => Err(Undecidable(name)),
            Some(_) | None => Ok(taken),
        }
    }

    fn get(&self, name: &str) -> Option<&Value> {
        self.fields.as_ref()?.get(name)
    }
}

impl<'de> Deserialize<'de> for Tree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader)
    }
}

/// Reads any JSON. A field that is there twice with different values could be read in two ways:
/// both are kept, as a list, which no field that decides can be.
struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(Tree(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree(Value::Null))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Tree, A::Error> {
        let mut values = Vec::new();
        while let Some(Tree(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(Tree(Value::Array(values)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Tree, A::Error> {
        let mut fields = Map::new();
        while let Some((name, Tree(value))) = map.next_entry::<String, Tree>()? {
            let kept = match fields.remove(&name) {
                Some(before) if before != value => Value::Array(vec![before, value]),
                Some(_) | None => value,
            };
            fields.insert(name, kept);
        }
        Ok(Tree(Value::Object(fields)))
    }
}

fn is_absent(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) => false,
    }
}

fn read_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn read_integer(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

fn read_boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::String(text) => match text.trim() {
            "true" | "True" | "TRUE" | "1" => Some(true),
            "false" | "False" | "FALSE" | "0" => Some(false),
            _ => None,
        },
        Value::Number(number) => match number.as_i64() {
            Some(1) => Some(true),
            Some(0) => Some(false),
            _ => None,
        },
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn read_list<T>(value: &Value, read: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
    value.as_array()?.iter().filter(|element| !is_absent(element)).map(read).collect()
}

#[derive(Default)]
struct Leftovers {
    found: BTreeMap<String, String>,
    size: usize,
    dropped: u64,
}

impl Leftovers {
    fn collect(&mut self, path: String, value: &Value) {
        match value {
            _ if is_absent(value) => {}
            Value::Object(fields) => {
                for (name, value) in fields {
                    let below = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                    self.collect(below, value);
                }
            }
            Value::Array(list) => {
                for (i, value) in list.iter().enumerate() {
                    self.collect(format!("{path}[{i}]"), value);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => self.keep(path, value.to_string()),
        }
    }

    fn keep(&mut self, path: String, json: String) {
        let size = path.len() + json.len();
        if self.size + size > MAX_LEFTOVERS {
            self.dropped += 1;
            return;
        }
        self.size += size;
        self.found.insert(path, json);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(json: &str) -> Tree {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn what_says_nothing_is_absent() {
        for nothing in ["null", r#""""#, r#"" ""#, "{}", "[]"] {
            let mut tree = tree(&format!(r#"{{"A":{nothing}}}"#));
            let mut root = tree.root();
            assert_eq!((root.text("A"), root.integer("A"), root.boolean("A")), (None, None, None), "{nothing}");
            assert_eq!(root.deciding_integer("A"), Ok(None), "{nothing}");
            assert!(root.deciding_object("A").is_ok(), "{nothing}");
            assert!(tree.leftovers().is_empty(), "{nothing}");
        }
    }

    #[test]
    fn each_field_is_read_in_every_unambiguous_spelling() {
        let mut tree =
            tree(r#"{"I":"12","J":12,"T":95.51,"B":"true","C":0,"L":["-9102",1,null],"M":[1,"x"],"Big":3000000000}"#);
        let mut root = tree.root();
        assert_eq!(
            (root.integer("I"), root.integer("J"), root.integer("Big")),
            (Some(12), Some(12), Some(3_000_000_000))
        );
        assert_eq!(root.text("T").as_deref(), Some("95.51"));
        assert_eq!((root.boolean("B"), root.boolean("C")), (Some(true), Some(false)));
        assert_eq!(root.integers("L"), [-9102, 1]);
        assert_eq!(root.texts("M"), ["1", "x"]);
        assert!(tree.leftovers().is_empty());
    }

    #[test]
    fn an_odd_value_stays_and_is_an_error_only_where_it_decides() {
        let mut tree = tree(r#"{"A":{"x":1},"B":"soon","C":[1],"L":["a",true]}"#);
        let mut root = tree.root();
        assert_eq!((root.text("A"), root.integer("B"), root.boolean("C")), (None, None, None));
        assert!(root.texts("L").is_empty());
        assert_eq!(root.deciding_integer("B"), Err(Undecidable("B")));
        assert_eq!(root.deciding_object("C").err(), Some(Undecidable("C")));
        let left = tree.leftovers();
        let left: Vec<_> = left.iter().map(|(path, json)| (path.as_str(), json.as_str())).collect();
        assert_eq!(left, [("A.x", "1"), ("B", "\"soon\""), ("C[0]", "1"), ("L[0]", "\"a\""), ("L[1]", "true")]);
    }

    #[test]
    fn a_field_with_two_values_decides_nothing() {
        let mut tree = tree(r#"{"A":1,"A":0,"B":5,"B":5}"#);
        let mut root = tree.root();
        assert_eq!(root.deciding_integer("A"), Err(Undecidable("A")));
        assert_eq!(root.deciding_integer("B"), Ok(Some(5)));
        assert_eq!(tree.leftovers().into_values().collect::<Vec<_>>(), ["1", "0"]);
    }

    #[test]
    fn paths_lead_to_values() {
        let mut tree = tree(r#"{"Text":{"Detail":[{"Name":"a"},{"Name":"b"}],"Deep":[[1,2]]}}"#);
        assert_eq!(tree.at("Text.Detail[1].Name"), Some(&mut Value::from("b")));
        assert_eq!(tree.at("Text.Deep[0][1]"), Some(&mut Value::from(2)));
        for nowhere in ["", "Text.None", "Text.Detail[2].Name", "Text.Detail[x]", "Text[0]", "Text.Detail[1"] {
            assert_eq!(tree.at(nowhere), None, "{nowhere}");
        }
    }

    #[test]
    fn leftovers_are_bounded_and_say_how_many_were_dropped() {
        let long = "x".repeat(40_000);
        let left = tree(&format!(r#"{{"A":"{long}","B":"{long}","C":1}}"#)).leftovers();
        assert_eq!(left.keys().collect::<Vec<_>>(), ["(dropped)", "A", "C"]);
        assert_eq!(left[DROPPED], "1");
    }
}
