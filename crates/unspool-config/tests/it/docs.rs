//! docs/reference/config.md lists the options as the code knows them.

use std::path::Path;

use unspool_config::{Effect, effect, options_in_effect, options_not_yet};

/// The names in backquotes of one section of the page, values such as `DIR` left out.
fn documented(heading: &str, first_column: bool) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/config.md");
    let page = std::fs::read_to_string(path).unwrap();
    let section = page.split("\n## ").find(|section| section.starts_with(heading)).unwrap();
    let lines = section.lines().filter(|line| line.starts_with('|') == first_column);
    let mut names: Vec<String> = lines
        .flat_map(|line| {
            let text = if first_column { line.split('|').nth(1).unwrap() } else { line };
            text.split('`').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()
        })
        .map(|name| name.split(' ').next().unwrap().to_owned())
        .filter(|name| !name.starts_with('-') && !name.contains('.'))
        .collect();
    names.sort();
    names
}

#[test]
fn options_in_effect_are_those_of_the_page() {
    assert_eq!(documented("Options in effect\n", true), options_in_effect());
}

#[test]
fn options_not_yet_in_effect_are_those_of_the_page() {
    assert_eq!(documented("Options not yet in effect\n", false), {
        let mut names = options_not_yet().to_vec();
        // Its last paragraph names one more.
        names.push("strict");
        names.sort_unstable();
        names
    });
}

#[test]
fn options_that_need_nothing_are_those_of_the_page() {
    for name in documented("Options that need nothing done\n", false) {
        assert_eq!(effect(&name), Effect::SoAnyway, "{name}");
    }
}
