//! `docs/examples.md` shows the code that runs: each of its Rust blocks stands word for word in the file that it names.

use std::path::Path;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
const MARK: &str = "<!-- code: ";
/// Where a block leaves something out.
const GAP: &str = "// ...";

#[derive(Debug)]
struct Block {
    file: Option<String>,
    line: usize,
    code: String,
}

fn rust_blocks(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut mark = None;
    let mut lines = page.lines().enumerate();
    while let Some((index, line)) = lines.next() {
        if line == "```rust" {
            let code = lines.by_ref().map(|(_, line)| line);
            let code: Vec<&str> = code.take_while(|line| *line != "```").collect();
            blocks.push(Block {
                file: mark.take(),
                line: index + 1,
                code: code.join("\n"),
            });
        } else {
            let file = line.strip_prefix(MARK);
            mark = file.map(|file| file.trim_end_matches(" -->").to_owned());
        }
    }
    blocks
}

/// The first part of the block that is not in the text, after those before it.
fn missing(block: &str, text: &str) -> Option<String> {
    let lines: Vec<&str> = block.lines().collect();
    let mut rest = text;
    for part in lines.split(|line| line.trim() == GAP) {
        let part = part.join("\n");
        let Some(at) = rest.find(&part) else {
            return Some(part);
        };
        rest = &rest[at + part.len()..];
    }
    None
}

#[test]
fn the_code_in_the_page_is_the_code_that_runs() {
    let page = std::fs::read_to_string(Path::new(ROOT).join("docs/examples.md")).unwrap();
    let blocks = rust_blocks(&page);
    assert!(blocks.len() >= 8, "{blocks:?}");
    for Block { file, line, code } in blocks {
        let file = file.unwrap_or_else(|| panic!("line {line}: say `{MARK}FILE -->` before it"));
        let text = std::fs::read_to_string(Path::new(ROOT).join(&file));
        let text = text.unwrap_or_else(|error| panic!("line {line}: read {file}: {error}"));
        if let Some(part) = missing(&code, &text) {
            panic!("line {line} of docs/examples.md shows what {file} does not hold:\n{part}");
        }
    }
}

#[test]
fn a_difference_is_found() {
    let text = "fn a() {\n    one();\n    two();\n    three();\n}\n";
    assert_eq!(missing("    one();\n    two();", text), None);
    assert_eq!(missing("    one();\n    // ...\n    three();", text), None);
    assert!(missing("    one();\n    three();", text).is_some());
    assert!(missing("    two();\n    // ...\n    one();", text).is_some());
    assert!(missing("    One();", text).is_some());
}

#[test]
fn blocks_are_found_with_their_files() {
    let page = "<!-- code: a.rs -->\n```rust\none();\n```\n\n```rust\ntwo();\n```\n";
    let blocks = rust_blocks(page);
    let found: Vec<_> = blocks
        .iter()
        .map(|b| (b.file.as_deref(), &*b.code))
        .collect();
    assert_eq!(found, [(Some("a.rs"), "one();"), (None, "two();")]);
}
