//! Text to a tree: the only place that names the crate `cel`.
//!
//! That has two parsers. The one used here was ported from the reference implementation, is twenty times as fast and a tenth of
//! the size of the other, and bounded in depth and nodes; it does not yet tell where a node was. So the words of the text are
//! read once more: leaves come in the tree in the order in which they stand in the text.

use cel::IdedExpr;
use cel::common::ast::{Expr as Cel, LiteralValue};
use cel::parser::PrattParser;
use cel::parser::pratt_parser::{Lexer, Token, TokenKind};

use super::Fault;

/// Longest text, bytes.
const MAX_BYTES: usize = 4000;
/// Nodes of a tree, at most.
const MAX_NODES: usize = 500;
/// How deep brackets may be, at most.
const MAX_NESTING: u16 = 48;

/// A node, and where it begins in the text.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node {
    pub(super) at: usize,
    pub(super) what: What,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum What {
    Double(f64),
    Integer(f64),
    Text(String),
    Truth(bool),
    /// A name with points in it.
    Name(String),
    /// A function, or an operator under its name in CEL.
    Call(String, Vec<Node>),
    List(Vec<Node>),
    /// Whether there is a value of that name.
    Has(String),
}

/// # Errors
/// What is wrong with the text, and where.
pub(super) fn parse(text: &str) -> Result<Node, Fault> {
    if text.len() > MAX_BYTES {
        return Err(Fault::new(0, format!("is longer than {MAX_BYTES} bytes")));
    }
    let parser = PrattParser::new()
        .max_recursion_depth(MAX_NESTING)
        .max_expression_node_count(MAX_NODES)
        .error_reporting_limit(1);
    let tree = parser.parse(text).map_err(|errors| syntax(text, &errors))?;
    Reader { text, words: words(text).into_iter() }.node(&tree)
}

fn syntax(text: &str, errors: &cel::ParseErrors) -> Fault {
    let Some(error) = errors.errors.first() else { return Fault::new(0, "is not CEL".into()) };
    let (line, column) = (usize::try_from(error.pos.0).unwrap_or(1), usize::try_from(error.pos.1).unwrap_or(1));
    let before: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let message = error.msg.trim_start_matches("Syntax error: ").replace("<EOF>", "the end");
    let message = message.replace("'the end'", "the end").replace(" expecting ", ": expected ");
    Fault::new((before + column.saturating_sub(1)).min(text.len()), message)
}

/// The words of which leaves are made.
fn words(text: &str) -> Vec<Token> {
    let mut lexer = Lexer::new(text);
    let mut words = Vec::new();
    // Each token is at least a byte long.
    for _ in 0..=text.len() {
        let token = lexer.lex();
        match token.kind {
            TokenKind::TokEnd | TokenKind::TokError => break,
            TokenKind::TokNull
            | TokenKind::TokFalse
            | TokenKind::TokTrue
            | TokenKind::TokInt
            | TokenKind::TokUint
            | TokenKind::TokFloat
            | TokenKind::TokString
            | TokenKind::TokBytes
            | TokenKind::TokIdent => words.push(token),
            _ => {}
        }
    }
    words
}

struct Reader<'a> {
    text: &'a str,
    words: std::vec::IntoIter<Token>,
}

impl Reader<'_> {
    /// Where the next leaf is.
    fn next(&mut self) -> usize {
        self.words.next().map_or(self.text.len(), |token| token.start)
    }

    fn node(&mut self, tree: &IdedExpr) -> Result<Node, Fault> {
        let unusable = |at, what: &str| Err(Fault::new(at, format!("{what} have no use in a condition")));
        match &tree.expr {
            Cel::Literal(literal) => {
                let at = self.next();
                let what = match literal {
                    LiteralValue::Double(value) => What::Double(**value),
                    LiteralValue::Int(value) => What::Integer(whole(**value, at)?),
                    LiteralValue::UInt(_) => return unusable(at, "unsigned integers"),
                    LiteralValue::Boolean(value) => What::Truth(**value),
                    LiteralValue::String(value) => What::Text(value.inner().to_owned()),
                    LiteralValue::Bytes(_) => return unusable(at, "bytes"),
                    LiteralValue::Null => return unusable(at, "nulls"),
                };
                Ok(Node { at, what })
            }
            Cel::Ident(_) | Cel::Select(_) => {
                let is_test = matches!(&tree.expr, Cel::Select(select) if select.test);
                // The word `has`.
                let place = if is_test { Some(self.next()) } else { None };
                let (at, name) = self.name(tree)?;
                let what = if is_test { What::Has(name) } else { What::Name(name) };
                Ok(Node { at: place.unwrap_or(at), what })
            }
            Cel::List(list) => {
                let elements = self.nodes(&list.elements)?;
                let at = elements.first().map_or(0, |node| node.at);
                Ok(Node { at, what: What::List(elements) })
            }
            Cel::Call(call) => {
                let mut name = call.func_name.clone();
                let mut begins = None;
                if let Some(target) = &call.target {
                    let (at, before) = self.name(target)?;
                    begins = Some(at);
                    name = format!("{before}.{name}");
                }
                if !is_operator(&call.func_name) {
                    let at = self.next();
                    begins = begins.or(Some(at));
                }
                let arguments = self.nodes(&call.args)?;
                let at = begins.or(arguments.first().map(|node| node.at)).unwrap_or(0);
                Ok(Node { at, what: What::Call(name, arguments) })
            }
            Cel::Comprehension(_) => {
                let at = self.next();
                unusable(at, "macros over lists (all, exists, map, filter)")
            }
            Cel::Map(_) | Cel::Struct(_) => {
                let at = self.next();
                unusable(at, "maps and messages")
            }
            Cel::Unspecified => unusable(0, "empty expressions"),
        }
    }

    fn nodes(&mut self, trees: &[IdedExpr]) -> Result<Vec<Node>, Fault> {
        trees.iter().map(|tree| self.node(tree)).collect()
    }

    /// A name with points, and where it begins.
    fn name(&mut self, tree: &IdedExpr) -> Result<(usize, String), Fault> {
        match &tree.expr {
            Cel::Ident(name) => Ok((self.next(), name.trim_start_matches('.').to_owned())),
            Cel::Select(select) => {
                let (at, before) = self.name(&select.operand)?;
                self.next();
                Ok((at, format!("{before}.{}", select.field)))
            }
            _ => {
                let at = self.node(tree)?.at;
                Err(Fault::new(at, "has no parts: only names have, as in Message.Signal".into()))
            }
        }
    }
}

/// CEL calls them `_+_`, `!_`, `@in`.
fn is_operator(name: &str) -> bool {
    name.contains(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.')
}

#[expect(clippy::cast_precision_loss, reason = "what would lose any is refused")]
fn whole(value: i64, at: usize) -> Result<f64, Fault> {
    if value.unsigned_abs() >= 1 << 53 {
        return Err(Fault::new(at, "is too large: integers are exact up to 2^53".into()));
    }
    Ok(value as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaves(node: &Node, found: &mut Vec<(usize, String)>) {
        match &node.what {
            What::Call(name, arguments) => {
                if !is_operator(name) {
                    found.push((node.at, name.clone()));
                }
                arguments.iter().for_each(|argument| leaves(argument, found));
            }
            What::List(elements) => elements.iter().for_each(|element| leaves(element, found)),
            What::Name(name) => found.push((node.at, name.clone())),
            What::Has(_) => found.push((node.at, "has".into())),
            What::Truth(value) => found.push((node.at, value.to_string())),
            What::Text(text) => found.push((node.at, format!("'{text}'"))),
            What::Double(_) | What::Integer(_) => {}
        }
    }

    #[test]
    fn each_leaf_is_found_where_it_stands() {
        for text in [
            "Speed > 3000.0 && can0.Engine.RPM * 2.0 <= 5.5e3 || !valid(X)",
            "a in [1.0, b] ? 'é' == Gear : has(Engine.RPM) && c",
            "within(\n  -a < math.abs(b - -c), duration('5s')) // says why\n && true == (d || e || f || g && h)",
            "((a)) && b && signal('can-a:M.S') > a % 2",
        ] {
            let mut found = Vec::new();
            leaves(&parse(text).unwrap(), &mut found);
            assert!(found.len() >= 4, "{found:?}");
            for (at, name) in found {
                let there = &text[at..];
                assert!(there.starts_with(&name), "{name} at {at} of {text}: {there}");
            }
        }
    }

    #[test]
    fn what_is_no_expression_is_refused_where_it_is_not() {
        let cases = [
            ("", 0, "expected expression"),
            ("a b", 2, "mismatched input 'b': expected the end"),
            ("1.0 +", 5, "mismatched input the end: expected expression"),
            ("a >\n  && b", 6, "unexpected token"),
            ("'abc", 0, "unterminated string literal"),
            ("for > 1", 0, "reserved identifier: for"),
            ("a == 1u", 5, "unsigned integers have no use"),
            ("[1].all(x, x > 1)", 1, "macros over lists"),
            ("a > 9007199254740992", 4, "exact up to 2^53"),
            ("f(a).b", 0, "has no parts"),
            ("a == {1: 2}", 6, "maps and messages"),
        ];
        for (text, at, message) in cases {
            let fault = parse(text).unwrap_err();
            assert!(fault.message.contains(message), "{text}: {fault:?}");
            assert_eq!(fault.at, at, "{text}: {fault:?}");
        }
    }

    #[test]
    fn nothing_makes_it_overflow() {
        let deep = |open: &str, close: &str| format!("{}a{}", open.repeat(900), close.repeat(900));
        let texts = [
            deep("(", ")"),
            deep("[", "]"),
            deep("!(", ")"),
            deep("f(", ")"),
            deep("!", ""),
            deep("-", ""),
            deep("a?b:", ""),
            deep("a.", ""),
            deep("a?(", ""),
            deep("a&&", ""),
            deep("a<", ""),
            deep("- ", ""),
            "§".repeat(1900),
            "(".repeat(4000),
            "a".repeat(4001),
        ];
        for text in texts {
            // Whatever it is: it ends, in good order.
            let _ = parse(&text);
        }
    }
}
