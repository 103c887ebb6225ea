//! Every path that a piece of Rust names, written out in full through the file's `use` lines.
//!
//! Code under `#[cfg(test)]` and `#[test]` is passed over. Names that reach a file through a macro of another crate
//! or a re-export of our own cannot be seen; the re-exporting file is then the one that is found.

use std::collections::{BTreeMap, BTreeSet};

use proc_macro2::{Spacing, Span, TokenStream, TokenTree};
use syn::visit::{self, Visit};
use syn::{Attribute, ExprMethodCall, File, ImplItem, Item, ItemMod, ItemUse, Macro, UseTree};

/// What one file names.
#[derive(Default)]
pub(super) struct Named {
    /// Full paths such as `std::fs::File`, with the line (from 1) where each stands.
    pub(super) paths: Vec<(String, usize)>,
    /// Methods called without arguments, with their line.
    pub(super) bare_methods: Vec<(String, usize)>,
    /// Modules in files of their own that exist under `#[cfg(test)]` only.
    pub(super) test_modules: Vec<String>,
}

/// Collects what `file` names outside its tests.
pub(super) fn collect(file: &File) -> Named {
    let mut imports = Imports::default();
    imports.visit_file(file);
    let mut collector = Collector { aliases: imports.aliases, named: Named::default() };
    for (path, span) in &imports.paths {
        collector.add(path, *span);
    }
    collector.visit_file(file);
    collector.named
}

/// First pass: what `use` lines bring in, anywhere in the file, for names may be used above their `use`.
#[derive(Default)]
struct Imports {
    /// Name in this file to the path it stands for.
    aliases: BTreeMap<String, Vec<String>>,
    paths: Vec<(Vec<String>, Span)>,
}

impl Imports {
    fn add(&mut self, prefix: &[String], tree: &UseTree) {
        let with = |name: &syn::Ident| prefix.iter().cloned().chain([name.to_string()]).collect::<Vec<_>>();
        match tree {
            UseTree::Path(path) => self.add(&with(&path.ident), &path.tree),
            UseTree::Group(group) => group.items.iter().for_each(|item| self.add(prefix, item)),
            UseTree::Glob(glob) => self.paths.push((prefix.to_vec(), glob.star_token.spans[0])),
            UseTree::Name(name) if name.ident == "self" => {
                self.bind(prefix.last().cloned(), prefix.to_vec(), name.ident.span());
            }
            UseTree::Name(name) => {
                self.bind(Some(name.ident.to_string()), with(&name.ident), name.ident.span())
            }
            UseTree::Rename(rename) => {
                let path = if rename.ident == "self" { prefix.to_vec() } else { with(&rename.ident) };
                self.bind(Some(rename.rename.to_string()), path, rename.ident.span());
            }
        }
    }

    fn bind(&mut self, name: Option<String>, path: Vec<String>, span: Span) {
        self.paths.push((path.clone(), span));
        if let Some(name) = name {
            self.aliases.insert(name, path);
        }
    }
}

impl<'ast> Visit<'ast> for Imports {
    fn visit_item(&mut self, item: &'ast Item) {
        if !is_test(item_attributes(item)) {
            visit::visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.add(&[], &item.tree);
    }

    fn visit_item_extern_crate(&mut self, item: &'ast syn::ItemExternCrate) {
        let name = item.rename.as_ref().map_or(&item.ident, |(_, rename)| rename);
        self.bind(Some(name.to_string()), vec![item.ident.to_string()], item.ident.span());
    }
}

/// Second pass: every other path.
struct Collector {
    aliases: BTreeMap<String, Vec<String>>,
    named: Named,
}

impl Collector {
    /// Notes a path, written out through the aliases; each alias once, for `use time;` stands for itself.
    fn add(&mut self, segments: &[String], span: Span) {
        let mut full = segments.to_vec();
        let mut used = BTreeSet::new();
        while let Some((name, path)) = full.first().and_then(|first| self.aliases.get_key_value(first)) {
            if !used.insert(name) {
                break;
            }
            full.splice(0..1, path.iter().cloned());
        }
        // `core` and `alloc` show the same items under other names.
        if matches!(full.first().map(String::as_str), Some("core" | "alloc")) {
            full[0] = "std".to_owned();
        }
        self.named.paths.push((full.join("::"), span.start().line));
    }

    /// Paths among the tokens of a macro call, which are not parsed as Rust before the macro has run.
    fn add_tokens(&mut self, tokens: TokenStream) {
        let mut path: Vec<String> = Vec::new();
        let mut span = Span::call_site();
        let mut colons = 0;
        for token in tokens {
            match token {
                TokenTree::Ident(ident) => {
                    if colons != 2 {
                        self.flush(&mut path, span);
                        span = ident.span();
                    }
                    path.push(ident.to_string());
                    colons = 0;
                }
                TokenTree::Punct(punct) if punct.as_char() == ':' => {
                    let joined = colons == 1 || punct.spacing() == Spacing::Joint;
                    colons = if joined { colons + 1 } else { 0 };
                }
                TokenTree::Group(group) => {
                    self.flush(&mut path, span);
                    colons = 0;
                    self.add_tokens(group.stream());
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {
                    self.flush(&mut path, span);
                    colons = 0;
                }
            }
        }
        self.flush(&mut path, span);
    }

    fn flush(&mut self, path: &mut Vec<String>, span: Span) {
        if !path.is_empty() {
            let segments = std::mem::take(path);
            self.add(&segments, span);
        }
    }
}

impl<'ast> Visit<'ast> for Collector {
    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            Item::Mod(ItemMod { attrs, ident, content: None, .. }) if is_test(attrs) => {
                self.named.test_modules.push(ident.to_string());
            }
            _ if is_test(item_attributes(item)) => {}
            _ => visit::visit_item(self, item),
        }
    }

    fn visit_impl_item(&mut self, item: &'ast ImplItem) {
        let attributes = match item {
            ImplItem::Fn(function) => function.attrs.as_slice(),
            _ => &[],
        };
        if !is_test(attributes) {
            visit::visit_impl_item(self, item);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if let Some(first) = path.segments.first() {
            self.add(&segments, first.ident.span());
        }
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.visit_path(&call.path);
        self.add_tokens(call.tokens.clone());
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        if call.args.is_empty() {
            self.named.bare_methods.push((call.method.to_string(), call.method.span().start().line));
        }
        visit::visit_expr_method_call(self, call);
    }
}

/// Whether an item exists in tests only: `#[test]` in any spelling, or `#[cfg(test)]`.
fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let called = attribute.path().segments.last().is_some_and(|segment| segment.ident == "test");
        let cfg_test = attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|condition| condition.is_ident("test"));
        called || cfg_test
    })
}

fn item_attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Const(item) => &item.attrs,
        Item::Enum(item) => &item.attrs,
        Item::ExternCrate(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Macro(item) => &item.attrs,
        Item::Mod(item) => &item.attrs,
        Item::Static(item) => &item.attrs,
        Item::Struct(item) => &item.attrs,
        Item::Trait(item) => &item.attrs,
        Item::Type(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        _ => &[],
    }
}
