//! Imports point the way that `src/lib.rs` draws, files import each other in no circle, and no room
//! hands on another's types.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};
use syn::{
    Attribute, Item, UseTree, VisRestricted, Visibility,
    visit::{self, Visit},
};

/// Path of a module: `["app", "settle"]`; empty for the crate's root.
type Module = Vec<String>;
type Edges = BTreeMap<String, BTreeSet<String>>;

/// The crate without its tests: every file as a module, and what it names of the others.
struct House {
    files: BTreeMap<Module, SourceFile>,
}

#[derive(Default)]
struct SourceFile {
    path: PathBuf,
    /// Every path that code or an import names, as it is written.
    named: Vec<Vec<String>>,
    /// `pub use`, in whatever degree: the name it gives, and the path that it stands for.
    handed_on: Vec<(String, Vec<String>)>,
    /// Private imports too: a short name that code may go on from.
    imported: BTreeMap<String, Vec<String>>,
}

impl House {
    fn read() -> Self {
        let mut house = Self { files: BTreeMap::new() };
        house.read_module(Vec::new(), Path::new("src/lib.rs"), Path::new("src"));
        house
    }

    fn read_module(&mut self, module: Module, path: &Path, folder: &Path) {
        let text = fs::read_to_string(path).expect("a source");
        let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut file = SourceFile { path: path.to_owned(), ..SourceFile::default() };
        let mut inner = Vec::new();
        for item in &parsed.items {
            file.visit_item(item);
            if let Item::Mod(declared) = item
                && declared.content.is_none()
                && !is_for_tests(&declared.attrs)
            {
                inner.push(declared.ident.to_string());
            }
        }
        self.files.insert(module.clone(), file);
        for name in inner {
            let beside = folder.join(format!("{name}.rs"));
            let within = folder.join(&name);
            let path = if beside.is_file() { beside } else { within.join("mod.rs") };
            self.read_module([&module[..], &[name]].concat(), &path, &within);
        }
    }

    /// The module of the file in which what `path` names stands, seen from `from`. None: outside of
    /// the crate, or a local name.
    fn find(&self, from: &Module, path: &[String]) -> Option<Module> {
        let (first, rest) = path.split_first()?;
        match first.as_str() {
            "crate" => self.descend(Vec::new(), rest, 0),
            "self" => self.descend(from.clone(), rest, 0),
            "super" => {
                let mut at = from.clone();
                at.pop()?;
                let ups = rest.iter().take_while(|part| *part == "super").count();
                at.truncate(at.len().checked_sub(ups)?);
                self.descend(at, &rest[ups..], 0)
            }
            name => {
                if self.files.contains_key(&[&from[..], &[name.to_owned()]].concat()) {
                    return self.descend(from.clone(), path, 0);
                }
                // `use krate::{self, …}` names a crate by itself.
                let import = self.files[from].imported.get(name).filter(|import| import[0] != name)?;
                self.find(from, &[&import[..], rest].concat())
            }
        }
    }

    fn descend(&self, module: Module, path: &[String], depth: u32) -> Option<Module> {
        assert!(depth < 20, "imports of {module:?} lead in a circle");
        let Some((name, rest)) = path.split_first() else { return Some(module) };
        let within = [&module[..], std::slice::from_ref(name)].concat();
        if self.files.contains_key(&within) {
            return self.descend(within, rest, depth);
        }
        match self.files[&module].handed_on.iter().find(|(given, _)| given == name) {
            Some((_, target)) => {
                let whole = [&target[..], rest].concat();
                match whole[0].as_str() {
                    "crate" => self.descend(Vec::new(), &whole[1..], depth + 1),
                    "self" => self.descend(module, &whole[1..], depth + 1),
                    "super" => self.descend(module[..module.len() - 1].to_vec(), &whole[1..], depth + 1),
                    inner => {
                        let known = self.files.contains_key(&[&module[..], &[inner.to_owned()]].concat());
                        if known { self.descend(module, &whole, depth + 1) } else { None }
                    }
                }
            }
            None => Some(module),
        }
    }

    /// Which file needs which others.
    fn needs(&self) -> BTreeMap<&Module, BTreeSet<Module>> {
        let needs = |(module, file): (_, &SourceFile)| {
            let mut found: BTreeSet<Module> = file.named.iter().filter_map(|path| self.find(module, path)).collect();
            found.remove(module);
            (module, found)
        };
        self.files.iter().map(needs).collect()
    }

    fn path(&self, module: &Module) -> String {
        self.files[module].path.display().to_string()
    }
}

impl SourceFile {
    fn import(&mut self, prefix: &[String], tree: &UseTree, is_handed_on: bool) {
        let mut note = |name: String, path: Vec<String>| {
            if is_handed_on {
                self.handed_on.push((name, path));
            } else {
                self.imported.insert(name, path.clone());
                self.named.push(path);
            }
        };
        match tree {
            UseTree::Path(path) => {
                let prefix = [prefix, &[path.ident.to_string()]].concat();
                self.import(&prefix, &path.tree, is_handed_on);
            }
            UseTree::Name(name) if name.ident == "self" => {
                note(prefix.last().expect("a path").clone(), prefix.to_vec());
            }
            UseTree::Name(name) => note(name.ident.to_string(), [prefix, &[name.ident.to_string()]].concat()),
            UseTree::Rename(rename) => note(rename.rename.to_string(), [prefix, &[rename.ident.to_string()]].concat()),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(prefix, tree, is_handed_on)),
            UseTree::Glob(_) => note("*".to_owned(), prefix.to_vec()),
        }
    }
}

impl<'ast> Visit<'ast> for SourceFile {
    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            Item::Use(item) if !is_for_tests(&item.attrs) => {
                self.import(&[], &item.tree, !matches!(item.vis, Visibility::Inherited));
            }
            Item::Mod(module) if is_for_tests(&module.attrs) => {}
            Item::Fn(function) if is_for_tests(&function.attrs) => {}
            Item::Use(_) => {}
            item => visit::visit_item(self, item),
        }
    }

    /// `pub(in crate::room)` imports nothing.
    fn visit_vis_restricted(&mut self, _: &'ast VisRestricted) {}

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if parts.len() > 1 {
            self.named.push(parts);
        }
        visit::visit_path(self, path);
    }
}

/// `#[cfg(test)]` and `#[cfg(fuzzing)]`: what the gateway itself does not have.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Ident>().is_ok_and(|only| only == "test" || only == "fuzzing")
    })
}

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

#[test]
fn rooms_import_what_is_drawn_and_nothing_else() {
    let house = House::read();
    let drawn = drawn();
    let rooms: BTreeSet<String> = house.files.keys().filter_map(|module| module.first().cloned()).collect();
    assert_eq!(drawn.keys().cloned().collect::<BTreeSet<_>>(), rooms, "every room is drawn");
    let mut real = Edges::new();
    let mut undrawn = Vec::new();
    for (module, needed) in house.needs() {
        let Some(room) = module.first() else { continue };
        for other in needed.iter().filter_map(|other| other.first()).filter(|other| *other != room) {
            if !drawn[room].contains(other) {
                undrawn.push(format!("{} imports {other}", house.path(module)));
            }
            real.entry(room.clone()).or_default().insert(other.clone());
        }
    }
    assert!(undrawn.is_empty(), "src/lib.rs does not draw that\n{}", undrawn.join("\n"));
    for (from, to) in &drawn {
        let real = real.remove(from).unwrap_or_default();
        let missing: Vec<&String> = to.difference(&real).collect();
        assert!(missing.is_empty(), "src/lib.rs draws {from} → {missing:?}, and nothing imports that");
    }
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let house = House::read();
    let needs = house.needs();
    let reached_from = |start: &Module| {
        let (mut reached, mut left) = (BTreeSet::new(), vec![start]);
        while let Some(module) = left.pop() {
            for other in &needs[module] {
                if reached.insert(other) {
                    left.push(other);
                }
            }
        }
        reached
    };
    let in_circle: BTreeSet<&Module> =
        needs.keys().copied().filter(|module| reached_from(module).contains(module)).collect();
    let circles: Vec<String> = in_circle
        .iter()
        .map(|module| {
            let others = needs[*module].iter().filter(|other| in_circle.contains(other));
            let others: Vec<String> = others.map(|other| house.path(other)).collect();
            format!("{} imports {}", house.path(module), others.join(", "))
        })
        .collect();
    assert!(circles.is_empty(), "files in circles\n{}", circles.join("\n"));
}

#[test]
fn no_room_hands_on_the_types_of_another() {
    let house = House::read();
    let mut laundered = Vec::new();
    for (module, file) in &house.files {
        for (name, target) in &file.handed_on {
            let home = house.find(module, target);
            if let Some(home) = home.filter(|home| home.first() != module.first()) {
                laundered.push(format!("{} hands on {name} of {}", file.path.display(), house.path(&home)));
            }
        }
    }
    assert!(laundered.is_empty(), "{}", laundered.join("\n"));
}
