//! Pages made from a small schema with one of everything.

use serde_json::json;

use super::page::{Block, Page, front_matter_problems};
use super::schema::Provider;

fn provider() -> Provider {
    let attribute = |kind, description: &str, extra: &str| {
        let mut attribute = json!({ "type": kind, "description": description });
        attribute[extra] = json!(true);
        attribute
    };
    serde_json::from_value(json!({
        "provider": { "version": 0, "block": { "description": "NATS.", "attributes": {
            "agents": attribute(json!(["list", "string"]), "Seeds.", "optional"),
        } } },
        "resource_schemas": { "nats_stream": { "version": 0, "block": {
            "description": "A stream.\nMore of it.",
            "attributes": {
                "id": attribute(json!("string"), "Its\nname.", "computed"),
                "name": attribute(json!("string"), "This | that.", "required"),
                "secret": { "type": "string", "description": "Hidden.", "optional": true, "sensitive": true, "write_only": true },
                "nodes": { "nested_type": { "nesting_mode": "map", "attributes": {
                    "address": attribute(json!("string"), "Where.", "required"),
                    "limits": { "optional": true, "description": "Limits.", "nested_type": { "nesting_mode": "single", "attributes": {
                        "max": attribute(json!("number"), "", "optional"),
                    } } },
                } }, "description": "Nodes.", "optional": true },
            },
            "block_types": { "timeouts": { "nesting_mode": "single", "block": { "description": "Times.", "attributes": {} } } },
        } } },
        "functions": { "matches": {
            "summary": "Whether it matches.", "return_type": "bool",
            "parameters": [{ "name": "filter", "type": "string", "description": "Filter." }],
            "variadic_parameter": { "name": "subjects", "type": ["object", { "a": "string" }], "description": "Subjects." },
        } },
    }))
    .unwrap()
}

#[test]
fn attributes_become_tables() {
    let references = provider().references();
    let files: Vec<_> = references.iter().map(|reference| reference.file.to_str().unwrap()).collect();
    assert_eq!(files, ["index.md", "resources/stream.md", "functions/matches.md"]);
    assert_eq!(references[1].title, "nats_stream (Resource)");
    assert_eq!(references[1].example.to_str(), Some("resources/nats_stream/resource.tf"));
    assert_eq!(
        references[1].schema,
        "## Schema

| Name | Type | Use | Description |
| --- | --- | --- | --- |
| `name` | string | Required | This \\| that. |
| `nodes` | map of objects | Optional | Nodes. |
| `secret` | string | Optional, sensitive, write-only | Hidden. |
| `timeouts` | block, single | Optional | Times. |
| `id` | string | Read-only | Its name. |

### `nodes`

| Name | Type | Use | Description |
| --- | --- | --- | --- |
| `address` | string | Required | Where. |
| `limits` | object | Optional | Limits. |

### `nodes.limits`

| Name | Type | Use | Description |
| --- | --- | --- | --- |
| `max` | number | Optional |  |

### `timeouts`

No attributes."
    );
}

#[test]
fn functions_become_signatures() {
    assert_eq!(
        provider().references()[2].schema,
        "## Signature\n\n```text\nmatches(filter string, subjects object { a: string }...) bool\n```\n\n## Arguments\n\n\
         - `filter` (string): Filter.\n- `subjects` (object { a: string }): Subjects."
    );
}

#[test]
fn what_has_no_description_is_named() {
    assert_eq!(
        provider().undescribed(),
        ["schema: `resource nats_stream.nodes.limits.max` has no description"]
    );
}

#[test]
fn a_new_page_has_front_matter_and_the_blocks() {
    let mut page = Page::new("nats_stream (Resource)", "A stream.\nMore of it.");
    page.set(Block::Schema, "## Schema");
    let text = page.into_text();
    assert_eq!(
        text,
        "---\npage_title: \"nats_stream (Resource)\"\nsubcategory: \"\"\ndescription: |-\n  A stream.\n---\n\n\
         # nats_stream (Resource)\n\nA stream.\nMore of it.\n\n<!-- generated: schema -->\n## Schema\n<!-- end: schema -->\n"
    );
    assert_eq!(front_matter_problems(&text), [""; 0]);
}

#[test]
fn text_by_hand_stays_and_writing_twice_changes_nothing() {
    let before = "by hand\n<!-- generated: schema -->\nold\n<!-- end: schema -->\nalso by hand\n";
    let mut page = Page::parse(before).unwrap();
    page.set(Block::Schema, "new");
    let once = page.clone();
    page.set(Block::Schema, "new");
    assert_eq!(page, once);
    assert_eq!(
        page.into_text(),
        "by hand\n<!-- generated: schema -->\nnew\n<!-- end: schema -->\nalso by hand\n"
    );
}

#[test]
fn marks_that_do_not_pair_are_refused() {
    let start = "<!-- generated: schema -->";
    let end = "<!-- end: schema -->";
    for text in
        [start.to_owned(), end.to_owned(), format!("{end}{start}"), format!("{start}{end}{start}{end}")]
    {
        let error = Page::parse(&text).unwrap_err().to_string();
        assert_eq!(error, format!("`{start}` and `{end}` must stand once each, in this order"), "{text}");
    }
}

#[test]
fn front_matter_must_be_whole() {
    assert_eq!(
        front_matter_problems("# Title\n"),
        ["must open with front matter between two lines of `---`"]
    );
    assert_eq!(
        front_matter_problems("---\npage_title: \"\"\ndescription: |-\nextra: x\n---\n\n# Title\n"),
        [
            "its front matter needs a `page_title`",
            "its front matter needs a `description`",
            "its front matter needs a `subcategory`, which may be \"\"",
        ]
    );
}
