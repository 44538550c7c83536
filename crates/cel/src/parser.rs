//! From words to a tree, by recursive descent; mistakes are told as cel-go's ANTLR parser tells the usual ones.

use crate::ast::{Expr, Node};
use crate::error::{Issue, Issues};
use crate::lexer::{Kind, Token, lex};
use crate::{LONGEST, macros};

/// How deep expressions may nest (rule: cel-go's `MaxRecursionDepth`).
const DEEPEST: usize = 250;
/// What an expression may begin with, as ANTLR lists it.
const EXPECTED: &str =
    "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";
/// What may follow an operand.
const OPERATORS: &str = "'==', '!=', 'in', '<', '<=', '>=', '>', '&&', '||', '[', ";
const RESERVED: &[&str] = &[
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "package",
    "namespace",
    "null",
    "return",
    "true",
    "var",
    "void",
    "while",
];
/// Whether a name may stand for a variable.
pub fn is_identifier(name: &str) -> bool {
    let first = name.chars().next().is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
    first && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') && !RESERVED.contains(&name)
}

/// Binary operators, weakest first: sign and function.
const BINARY: &[&[(&str, &str)]] = &[
    &[("||", "_||_")],
    &[("&&", "_&&_")],
    &[("<", "_<_"), ("<=", "_<=_"), (">=", "_>=_"), (">", "_>_"), ("==", "_==_"), ("!=", "_!=_"), ("in", "@in")],
    &[("+", "_+_"), ("-", "_-_")],
    &[("*", "_*_"), ("/", "_/_"), ("%", "_%_")],
];

/// The last level whose chains are balanced, however long: `||` and `&&`.
const LOGICAL: usize = 1;

/// The tree of an expression.
pub(crate) fn parse(source: &str) -> Result<Expr, Issues> {
    let chars: Vec<char> = source.chars().collect();
    if chars.len() > LONGEST {
        let message = format!("expression code point size exceeds limit: size: {}, limit {LONGEST}", chars.len());
        return Err(Issues::one(source, 0, message));
    }
    let (tokens, issues) = lex(&chars);
    let mut parser = Parser { tokens, next: 0, issues, depth: 0, tall: 0 };
    let tree = parser.expression();
    if let Ok(tree) = tree {
        if parser.peek().kind != Kind::End {
            let token = parser.peek().clone();
            let more = parser.tokens.len() - parser.next > 2;
            // After a whole expression ANTLR drops one word that does not fit, and gives up where there are more.
            let how = if more { "mismatched" } else { "extraneous" };
            let message = format!("Syntax error: {how} input '{}' expecting <EOF>", token.text);
            parser.issues.push(Issue { at: token.at, message });
        }
        if parser.issues.is_empty() {
            return Ok(tree);
        }
    }
    Err(Issues::new(source, parser.issues))
}

/// A mistake was told; nothing more is read.
struct Stop;
type Parsed = Result<Expr, Stop>;

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    issues: Vec<Issue>,
    depth: usize,
    /// How high the highest tree is among those that the operand at hand was made of so far.
    tall: usize,
}

impl Parser {
    fn peek(&self) -> &Token {
        // The last token is the end, and it is never taken.
        &self.tokens[self.next.min(self.tokens.len() - 1)]
    }
    fn take(&mut self) -> Token {
        let token = self.peek().clone();
        self.next += 1;
        token
    }
    fn is(&self, sign: &str) -> bool {
        let token = self.peek();
        token.kind == Kind::Sign && token.text == sign
    }
    fn eat(&mut self, sign: &str) -> bool {
        let found = self.is(sign);
        self.next += usize::from(found);
        found
    }
    fn fail<T>(&mut self, message: String) -> Result<T, Stop> {
        let at = self.peek().at;
        self.issues.push(Issue { at, message: format!("Syntax error: {message}") });
        Err(Stop)
    }
    fn mismatched<T>(&mut self, expecting: &str) -> Result<T, Stop> {
        let message = format!("mismatched input '{}' expecting {expecting}", self.peek().text);
        self.fail(message)
    }
    fn expect(&mut self, sign: &str) -> Result<(), Stop> {
        if self.eat(sign) {
            return Ok(());
        }
        if self.peek().kind == Kind::End {
            let message = format!("missing '{sign}' at '<EOF>'");
            return self.fail(message);
        }
        self.mismatched(&format!("'{sign}'"))
    }

    fn expression(&mut self) -> Parsed {
        self.depth += 1;
        if self.depth > DEEPEST {
            return self.too_deep();
        }
        let condition = self.binary(0)?;
        let whole = if self.is("?") {
            let at = self.take().at;
            let yes = self.binary(0)?;
            self.expect(":")?;
            let no = self.expression()?;
            call("_?_:_", vec![condition, yes, no], at)
        } else {
            condition
        };
        self.depth -= 1;
        Ok(whole)
    }

    fn binary(&mut self, level: usize) -> Parsed {
        let Some(operators) = BINARY.get(level) else { return self.unary() };
        let outer = std::mem::take(&mut self.tall);
        let (mut operands, mut signs) = (vec![self.binary(level + 1)?], Vec::new());
        loop {
            let token = self.peek();
            let found = operators.iter().find(|o| token.kind == Kind::Sign && token.text == o.0);
            let Some((_, function)) = found else { break };
            signs.push((self.take().at, *function));
            operands.push(self.binary(level + 1)?);
            if level > LOGICAL && signs.len() > DEEPEST {
                return self.too_deep();
            }
        }
        let rows =
            if level <= LOGICAL { signs.len().checked_ilog2().map_or(0, |n| n as usize + 1) } else { signs.len() };
        self.tall += rows;
        if self.tall > DEEPEST {
            return self.too_deep();
        }
        self.tall = self.tall.max(outer);
        if level <= LOGICAL {
            return Ok(balanced(&mut operands.into_iter(), &signs));
        }
        let mut operands = operands.into_iter();
        // There is one operand more than there are signs.
        let Some(mut whole) = operands.next() else { return Err(Stop) };
        for ((at, function), right) in signs.into_iter().zip(operands) {
            whole = call(function, vec![whole, right], at);
        }
        Ok(whole)
    }

    fn too_deep(&mut self) -> Parsed {
        let at = self.peek().at;
        self.issues.push(Issue { at, message: format!("expression recursion limit exceeded: {DEEPEST}") });
        Err(Stop)
    }

    fn unary(&mut self) -> Parsed {
        for (sign, function) in [("!", "!_"), ("-", "-_")] {
            if !self.is(sign) {
                continue;
            }
            let at = self.peek().at;
            let mut count = 0;
            while self.eat(sign) {
                count += 1;
            }
            let operand = self.member()?;
            if count % 2 == 0 {
                return Ok(operand);
            }
            // A minus before a number belongs to the number.
            let literal = sign == "-" && count == 1 && matches!(operand.node, Node::Int | Node::Double);
            return Ok(if literal { operand } else { call(function, vec![operand], at) });
        }
        self.member()
    }

    fn member(&mut self) -> Parsed {
        let outer = std::mem::take(&mut self.tall);
        let operand = self.primary()?;
        let whole = self.steps(operand)?;
        self.tall = self.tall.max(outer);
        Ok(whole)
    }

    /// Fields, indexes and calls after an operand. Chains within brackets count as well: else a chain of the greatest
    /// length in each of nested brackets would be a tree too high for the stack.
    fn steps(&mut self, mut operand: Expr) -> Parsed {
        loop {
            self.tall += 1;
            if self.tall > DEEPEST {
                return self.too_deep();
            }
            if self.is(".") {
                let at = self.take().at;
                let optional = self.eat("?");
                let token = self.peek().clone();
                let field = match &token.kind {
                    Kind::Ident => token.text.clone(),
                    Kind::Quoted(name) => name.clone(),
                    Kind::Sign if token.text == "in" => token.text.clone(),
                    _ => {
                        let message = format!("no viable alternative at input '.{}'", token.text.replace("<EOF>", ""));
                        return self.fail(message);
                    }
                };
                self.next += 1;
                if self.is("(") && !optional && token.kind == Kind::Ident {
                    let at = self.take().at;
                    let args = self.arguments(")")?;
                    operand = macros::method(operand, field, args, at, &mut self.issues);
                } else {
                    operand =
                        Expr { at, node: Node::Select { operand: Box::new(operand), field, test: false, optional } };
                }
            } else if self.is("[") {
                let at = self.take().at;
                let function = if self.eat("?") { "_[?_]" } else { "_[_]" };
                let index = self.expression()?;
                self.expect("]")?;
                operand = call(function, vec![operand, index], at);
            } else if self.is("{") {
                let Some(name) = qualified(&operand) else { return Ok(operand) };
                let at = self.take().at;
                let fields = self.fields()?;
                operand = Expr { at, node: Node::Message { name, fields } };
            } else {
                return Ok(operand);
            }
        }
    }

    fn arguments(&mut self, end: &str) -> Result<Vec<Expr>, Stop> {
        let mut args = Vec::new();
        if self.eat(end) {
            return Ok(args);
        }
        loop {
            args.push(self.expression()?);
            if self.eat(end) {
                return Ok(args);
            }
            if !self.eat(",") {
                return self
                    .mismatched(&format!("{{{OPERATORS}'{{', '{end}', '.', ',', '-', '?', '+', '*', '/', '%'}}"));
            }
        }
    }

    fn fields(&mut self) -> Result<Vec<(String, usize, Expr, bool)>, Stop> {
        let mut fields = Vec::new();
        while !self.eat("}") {
            let optional = self.eat("?");
            let token = self.take();
            let name = match token.kind {
                Kind::Ident => token.text,
                Kind::Quoted(name) => name,
                _ => {
                    self.next -= 1;
                    return self.mismatched("{'}', ',', '?', IDENTIFIER, ESC_IDENTIFIER}");
                }
            };
            let at = self.peek().at;
            self.expect(":")?;
            fields.push((name, at, self.expression()?, optional));
            if !self.eat(",") && !self.is("}") {
                return self.mismatched("'}'");
            }
        }
        Ok(fields)
    }

    fn primary(&mut self) -> Parsed {
        let token = self.peek().clone();
        let node = match &token.kind {
            Kind::Int => integer(&token.text, &mut self.issues, token.at),
            Kind::Uint => Node::Uint,
            Kind::Double => Node::Double,
            Kind::Bytes => Node::Bytes,
            Kind::String(s) => Node::String(s.clone()),
            Kind::Ident => return self.name(""),
            Kind::Sign => match token.text.as_str() {
                "true" | "false" => Node::Bool,
                "null" => Node::Null,
                "." if matches!(self.tokens.get(self.next + 1), Some(t) if t.kind == Kind::Ident) => {
                    self.next += 1;
                    return self.name(".");
                }
                "(" => {
                    self.next += 1;
                    let inner = self.expression()?;
                    self.expect(")")?;
                    return Ok(inner);
                }
                "[" => {
                    self.next += 1;
                    return Ok(Expr { at: token.at, node: Node::List(self.elements()?) });
                }
                "{" => {
                    self.next += 1;
                    return Ok(Expr { at: token.at, node: Node::Map(self.entries()?) });
                }
                _ => return self.mismatched(EXPECTED),
            },
            Kind::Quoted(_) | Kind::End => return self.mismatched(EXPECTED),
        };
        self.next += 1;
        Ok(Expr { at: token.at, node })
    }

    fn name(&mut self, lead: &str) -> Parsed {
        let token = self.take();
        if RESERVED.contains(&token.text.as_str()) {
            let message = format!("reserved identifier: {}", token.text);
            self.issues.push(Issue { at: token.at, message });
        }
        let name = format!("{lead}{}", token.text);
        if self.is("(") {
            let at = self.take().at;
            let args = self.arguments(")")?;
            return Ok(macros::function(name, args, at, &mut self.issues));
        }
        Ok(Expr { at: token.at, node: Node::Ident(name) })
    }

    fn elements(&mut self) -> Result<Vec<(Expr, bool)>, Stop> {
        let mut list = Vec::new();
        while !self.eat("]") {
            let optional = self.eat("?");
            list.push((self.expression()?, optional));
            if !self.eat(",") && !self.is("]") {
                return self.mismatched(&format!("{{{OPERATORS}']', '{{', '.', ',', '-', '?', '+', '*', '/', '%'}}"));
            }
        }
        Ok(list)
    }

    fn entries(&mut self) -> Result<Vec<(Expr, Expr, bool)>, Stop> {
        let mut map = Vec::new();
        while !self.eat("}") {
            let optional = self.eat("?");
            let key = self.expression()?;
            self.expect(":")?;
            map.push((key, self.expression()?, optional));
            if !self.eat(",") && !self.is("}") {
                return self.mismatched(&format!("{{{OPERATORS}'{{', '}}', '.', ',', '-', '?', '+', '*', '/', '%'}}"));
            }
        }
        Ok(map)
    }
}

/// A chain of one operator as a tree that is as flat as it can be.
fn balanced(operands: &mut std::vec::IntoIter<Expr>, signs: &[(usize, &str)]) -> Expr {
    let middle = signs.len() / 2;
    match signs.get(middle) {
        // There is one operand more than there are signs, so there is one for each leaf.
        None => operands.next().unwrap_or(Expr { at: 0, node: Node::Null }),
        Some((at, function)) => {
            let left = balanced(operands, &signs[..middle]);
            let right = balanced(operands, &signs[middle + 1..]);
            call(function, vec![left, right], *at)
        }
    }
}

fn call(function: &str, args: Vec<Expr>, at: usize) -> Expr {
    Expr { at, node: Node::Call { function: function.to_owned(), target: None, args } }
}

fn integer(text: &str, issues: &mut Vec<Issue>, at: usize) -> Node {
    let fits = match text.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16).is_ok(),
        // The least number is written with a minus, which is read apart.
        None => text.parse::<u64>().is_ok_and(|n| n <= 1 << 63),
    };
    if !fits {
        issues.push(Issue { at, message: "invalid int literal".into() });
    }
    Node::Int
}

/// The dotted name that an expression is, if it is one.
pub(crate) fn qualified(e: &Expr) -> Option<String> {
    match &e.node {
        Node::Ident(name) => Some(name.clone()),
        Node::Select { operand, field, test: false, optional: false } => {
            Some(format!("{}.{field}", qualified(operand)?))
        }
        _ => None,
    }
}
