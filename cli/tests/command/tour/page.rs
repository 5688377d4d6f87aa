//! A page in Markdown: its blocks of code, and its links.

/// A block of code of a page.
pub(super) enum Block {
    /// Lines of a shell.
    Commands(Vec<String>),
    /// What the last of the commands before it prints.
    Output(String),
    /// Equations. A line that starts with spaces continues the one before it.
    Statements(Vec<String>),
}

pub(super) struct Page {
    pub(super) blocks: Vec<Block>,
    pub(super) links: Vec<String>,
}

impl Page {
    pub(super) fn parse(text: &str) -> Self {
        let (mut blocks, mut links) = (Vec::new(), Vec::new());
        // Whether only empty lines were read since a block of commands.
        let mut follows_commands = false;
        let mut lines = text.lines();
        while let Some(line) = lines.next() {
            let Some(language) = line.strip_prefix("```") else {
                links.extend(links_of(line));
                follows_commands &= line.trim().is_empty();
                continue;
            };
            let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push(match (language, follows_commands) {
                ("sh", _) => Block::Commands(block.iter().map(|&line| line.to_owned()).collect()),
                ("text", true) => Block::Output(block.join("\n")),
                ("text", false) => Block::Statements(statements(&block)),
                (language, _) => panic!("a block of `{language}`: expected sh or text"),
            });
            follows_commands = language == "sh";
        }
        Self { blocks, links }
    }
}

/// Joins lines to statements.
fn statements(lines: &[&str]) -> Vec<String> {
    let mut statements: Vec<String> = Vec::new();
    for line in lines {
        match statements.last_mut() {
            Some(statement) if line.starts_with(' ') => {
                statement.push(' ');
                statement.push_str(line.trim());
            }
            _ => statements.push((*line).to_owned()),
        }
    }
    statements
}

/// Returns the targets of links and pictures.
fn links_of(line: &str) -> impl Iterator<Item = String> {
    line.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target.to_owned())
}

/// Returns the anchors of a page's headings, as GitHub names them.
pub(super) fn anchors(text: &str) -> impl Iterator<Item = String> {
    let headings = text.lines().filter(|line| line.starts_with('#'));
    headings.map(|line| {
        let title = line.trim_start_matches('#').trim().to_lowercase();
        let kept = title.chars().filter(|c| c.is_alphanumeric() || " -".contains(*c));
        kept.map(|c| if c == ' ' { '-' } else { c }).collect()
    })
}

/// Splits a command into its arguments. Quotes are the only syntax of a shell that the page uses.
pub(super) fn split_command(command: &str) -> Vec<String> {
    let mut arguments = Vec::new();
    for (i, part) in command.split('"').enumerate() {
        if i % 2 == 1 {
            arguments.push(part.to_owned());
        } else {
            arguments.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    arguments
}

/// Returns the value of an option of a command.
pub(super) fn option(command: &str, name: &str) -> Option<String> {
    let arguments = split_command(command);
    let at = arguments.iter().position(|argument| argument == name)?;
    arguments.get(at + 1).cloned()
}

/// Compares outputs word by word. The last digit of a number may differ by one, because the levels
/// without fused multiply-add round otherwise.
pub(super) fn assert_same_output(expected: &str, found: &str) {
    let [expected_lines, found_lines] = [expected, found].map(|text| text.lines().collect::<Vec<_>>());
    assert_eq!(expected_lines.len(), found_lines.len(), "the page (left), the command (right):\n{expected}\n{found}");
    for (expected, found) in expected_lines.iter().zip(&found_lines) {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let (a, b) = (words(expected), words(found));
        let is_same = a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| is_same_word(a, b));
        assert!(is_same, "the page says `{expected}`, the command prints `{found}`");
    }
}

fn is_same_word(a: &str, b: &str) -> bool {
    let (Ok(x), Ok(y)) = (a.parse::<f64>(), b.parse::<f64>()) else { return a == b };
    let digits = a.split_once('.').map_or(0, |(_, digits)| digits.len());
    (x - y).abs() <= 1.01 * 0.1_f64.powi(digits as i32)
}
