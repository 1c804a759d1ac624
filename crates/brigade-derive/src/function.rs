//! `#[brigade::main]` and `#[brigade::test]`: a function that calls `init` first.
//!
//! The function is not parsed but for what has to be known of it, so that whatever Rust accepts of
//! it stays as it is, with its places in the source.

use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Error, Token, Visibility};

/// The attribute's argument: `init_with = f`, or none.
struct Argument(Option<TokenStream>);

impl Parse for Argument {
    fn parse(input: ParseStream<'_>) -> Result<Argument, Error> {
        if input.is_empty() {
            return Ok(Argument(None));
        }
        let message = "the only argument is `init_with = function`";
        let name: Ident = input.parse().map_err(|e| Error::new(e.span(), message))?;
        if name != "init_with" {
            return Err(Error::new(name.span(), message));
        }
        input
            .parse::<Token![=]>()
            .map_err(|e| Error::new(e.span(), message))?;
        let function: TokenStream = input.parse()?;
        if function.is_empty() {
            return Err(input.error(message));
        }
        Ok(Argument(Some(function)))
    }
}

/// A function, as far as it has to be known.
struct Function {
    /// What is called first.
    init: TokenStream,
    attributes: Vec<Attribute>,
    visibility: Visibility,
    /// `async`, before `fn`.
    is_async: bool,
    /// From after the visibility to before the body.
    signature: TokenStream,
    body: Group,
}

impl Parse for Function {
    fn parse(input: ParseStream<'_>) -> Result<Function, Error> {
        let attributes = input.call(Attribute::parse_outer)?;
        let visibility = input.parse()?;
        let rest: TokenStream = input.parse()?;
        let mut tokens: Vec<TokenTree> = rest.into_iter().collect();
        let is =
            |token: &TokenTree, word| matches!(token, TokenTree::Ident(ident) if ident == word);
        let function = tokens.iter().position(|token| is(token, "fn"));
        let body = match tokens.pop() {
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => Some(group),
            _ => None,
        };
        let (Some(function), Some(body)) = (function, body) else {
            return Err(Error::new(input.span(), "expected a function with a body"));
        };
        Ok(Function {
            init: TokenStream::new(),
            attributes,
            visibility,
            is_async: tokens.iter().take(function).any(|token| is(token, "async")),
            signature: tokens.into_iter().collect(),
            body,
        })
    }
}

impl Function {
    fn parse(arguments: TokenStream, item: TokenStream) -> Result<Function, Error> {
        let Argument(init_with) = syn::parse2(arguments)?;
        let function: Function = syn::parse2(item)?;
        let init = match init_with {
            None => quote!(::brigade::init();),
            Some(f) => quote!(::brigade::init_with(#f);),
        };
        Ok(Function { init, ..function })
    }

    /// This function, which calls `init` first.
    fn with_init(&self) -> TokenStream {
        let (attributes, visibility) = (&self.attributes, &self.visibility);
        let signature = &self.signature;
        let (init, inside) = (&self.init, self.body.stream());
        let mut body = Group::new(Delimiter::Brace, quote!(#init #inside));
        body.set_span(self.body.span());
        quote!(#(#attributes)* #visibility #signature #body)
    }

    /// The last word of the path of an attribute of the function that is another's macro, such as
    /// `main` of `#[tokio::main]`.
    fn has_attribute(&self, word: &str) -> bool {
        self.attributes.iter().any(|attribute| {
            let last = attribute.path().segments.last();
            last.is_some_and(|segment| segment.ident == word)
        })
    }

    fn refuse_async(&self, word: &str) -> Result<(), Error> {
        if self.is_async && !self.has_attribute(word) {
            let message = format!(
                "an `async fn` needs a runtime: put its attribute, such as `#[tokio::{word}]`, \
                 below `#[brigade::{word}]`"
            );
            return Err(Error::new_spanned(&self.signature, message));
        }
        Ok(())
    }
}

pub(crate) fn main(arguments: TokenStream, item: TokenStream) -> Result<TokenStream, Error> {
    let function = Function::parse(arguments, item)?;
    function.refuse_async("main")?;
    if !function.is_async {
        return Ok(function.with_init());
    }
    // The runtime starts when `init` has been called, in a function within.
    let Function {
        init,
        attributes,
        visibility,
        signature,
        body,
        ..
    } = &function;
    let outer: TokenStream = signature
        .clone()
        .into_iter()
        .filter(|token| !matches!(token, TokenTree::Ident(ident) if ident == "async"))
        .collect();
    let name = name(signature);
    Ok(quote! {
        #visibility #outer {
            #init
            #(#attributes)* #signature #body
            #name()
        }
    })
}

pub(crate) fn test(arguments: TokenStream, item: TokenStream) -> Result<TokenStream, Error> {
    let function = Function::parse(arguments, item)?;
    function.refuse_async("test")?;
    let with_init = function.with_init();
    // A runtime's attribute, such as `#[tokio::test]`, makes it a test.
    let attribute = (!function.has_attribute("test"))
        .then(|| quote!(#[::core::prelude::v1::test]))
        .to_token_stream();
    Ok(quote!(#attribute #with_init))
}

/// The name of a function of this signature.
fn name(signature: &TokenStream) -> Option<Ident> {
    let mut tokens = signature.clone().into_iter();
    tokens.find(|token| matches!(token, TokenTree::Ident(ident) if ident == "fn"))?;
    match tokens.next() {
        Some(TokenTree::Ident(name)) => Some(name),
        _ => None,
    }
}
