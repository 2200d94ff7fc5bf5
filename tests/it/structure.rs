//! Imports point the way that `src/lib.rs` draws.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

type Edges = BTreeMap<String, BTreeSet<String>>;

/// The drawing: `a → b, c` and `d, e → nothing of ours`.
fn drawn() -> Edges {
    let text = fs::read_to_string("src/lib.rs").expect("the crate's root");
    let block = text.split("```text").nth(1).and_then(|rest| rest.split("```").next()).expect("a drawing");
    let names = |list: &str| list.split(',').map(|name| name.trim().to_owned()).collect::<BTreeSet<_>>();
    let mut edges = Edges::new();
    for line in block.lines() {
        let Some((from, to)) = line.trim_start_matches("//!").split_once('→') else { continue };
        let to = if to.trim() == "nothing of ours" { BTreeSet::new() } else { names(to) };
        for from in names(from) {
            assert!(edges.insert(from.clone(), to.clone()).is_none(), "{from} is drawn twice");
        }
    }
    edges
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// Code alone: no comments, and nothing that is only there for tests.
fn code(text: &str) -> String {
    let until_tests = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    until_tests.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The first names after `crate::`, also of `crate::{a, b::{c}}`.
fn imported(code: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        let mut depth = 0;
        let mut is_start = true;
        let mut name = String::new();
        for character in rest.chars() {
            match character {
                '{' => depth += 1,
                '}' => depth -= 1,
                ',' if depth == 1 => is_start = true,
                _ if (character.is_alphanumeric() || character == '_') && is_start && depth <= 1 => {
                    name.push(character);
                    continue;
                }
                _ => {}
            }
            if !name.is_empty() {
                names.insert(std::mem::take(&mut name));
                is_start = character == ',' && depth == 1;
            }
            if depth <= 0 && !names.is_empty() && character != ':' {
                break;
            }
        }
    }
    names
}

#[test]
fn imports_point_one_way() {
    let drawn = drawn();
    let declared: BTreeSet<String> = fs::read_to_string("src/lib.rs")
        .expect("the crate's root")
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';').map(str::to_owned))
        .collect();
    assert_eq!(drawn.keys().cloned().collect::<BTreeSet<_>>(), declared, "every module is drawn");
    let mut files = Vec::new();
    sources(Path::new("src"), &mut files);
    let texts: Vec<(PathBuf, String)> =
        files.into_iter().map(|path| (path.clone(), fs::read_to_string(path).expect("a source"))).collect();
    // `#[cfg(test)] mod name;` in another file.
    let only_tests: BTreeSet<String> = texts
        .iter()
        .flat_map(|(_, text)| text.split("#[cfg(test)]\nmod ").skip(1))
        .filter_map(|rest| rest.split_once(';').map(|(name, _)| name.to_owned()))
        .filter(|name| name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
        .collect();
    let mut real = Edges::new();
    for (path, text) in &texts {
        let parts: Vec<&str> = path.iter().skip(1).filter_map(|part| part.to_str()).collect();
        let module = parts[0].trim_end_matches(".rs").to_owned();
        let is_test = parts.iter().any(|part| only_tests.contains(part.trim_end_matches(".rs")));
        if is_test || !declared.contains(&module) {
            continue;
        }
        for name in imported(&code(text)).intersection(&declared).filter(|name| **name != module) {
            let allowed = drawn[&module].contains(name);
            assert!(allowed, "{} imports {name}, which src/lib.rs does not draw", path.display());
            real.entry(module.clone()).or_default().insert(name.clone());
        }
    }
    for (from, to) in &drawn {
        let real = real.remove(from).unwrap_or_default();
        let missing: Vec<&String> = to.difference(&real).collect();
        assert!(missing.is_empty(), "src/lib.rs draws {from} → {missing:?}, and nothing imports that");
    }
}
