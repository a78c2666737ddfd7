//! Compiles `proto/` without an installed protoc, and writes three things beside the usual code:
//! a `Debug` for every message that prints its name only (messages carry card numbers and
//! tokens), the list of RPCs as an enum (so that an RPC without a policy row does not compile),
//! and the descriptor set for reflection.

use prost::Message;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Messages whose fields are wiped when they are dropped.
const WIPED: &[&str] = &[
    "Card",
    "Billing",
    "IbanAccount",
    "UsAccount",
    "UkAccount",
    "SeAccount",
    "Bankgiro",
    "Plusgiro",
    "DkAccount",
];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let mut files: Vec<PathBuf> = std::fs::read_dir("proto/payvault/v1")?
        .map(|entry| entry.map(|e| e.path()))
        .collect::<Result<_, _>>()?;
    files.sort();
    let set = protox::compile(&files, [Path::new("proto")])?;
    std::fs::write(out.join("payvault_descriptor.bin"), set.encode_to_vec())?;

    let mut debug = String::new();
    let mut rpcs = Vec::new();
    for file in set.file.iter().filter(|f| f.package() == "payvault.v1") {
        for message in &file.message_type {
            writeln!(
                debug,
                "impl std::fmt::Debug for {0} {{ fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {{ f.write_str(\"{0} {{ .. }}\") }} }}",
                message.name()
            )?;
        }
        for service in &file.service {
            for method in &service.method {
                rpcs.push((service.name().to_owned(), method.name().to_owned()));
            }
        }
    }
    std::fs::write(out.join("debug.rs"), debug)?;
    std::fs::write(out.join("rpc.rs"), rpc_enum(&rpcs)?)?;

    let mut config = prost_build::Config::new();
    config.skip_debug(["."]);
    config.enable_type_names();
    // The contract's one message of Google's: errors are made with that crate already.
    config.extern_path(".google.rpc", "::tonic_types");
    for message in WIPED {
        config.message_attribute(
            format!("payvault.v1.{message}"),
            "#[derive(zeroize::Zeroize, zeroize::ZeroizeOnDrop)]",
        );
    }
    tonic_prost_build::configure()
        .build_transport(true)
        .codec_path("crate::api::message::MessageCodec")
        .compile_fds_with_config(set, config)?;
    Ok(())
}

/// `enum Rpc` with one variant a method, its path and its name.
fn rpc_enum(rpcs: &[(String, String)]) -> Result<String, std::fmt::Error> {
    let mut code = String::new();
    code.push_str("/// One remote procedure of the contract in `proto/`.\n");
    code.push_str(
        "#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]\npub enum Rpc {\n",
    );
    for (service, method) in rpcs {
        writeln!(code, "    /// `{service}.{method}`.\n    {method},")?;
    }
    code.push_str("}\n\nimpl Rpc {\n    /// Every RPC, in the order of the proto files.\n    pub const ALL: &'static [Rpc] = &[\n");
    for (_, method) in rpcs {
        writeln!(code, "        Rpc::{method},")?;
    }
    code.push_str("    ];\n\n    /// Its gRPC path.\n    pub const fn path(self) -> &'static str {\n        match self {\n");
    for (service, method) in rpcs {
        writeln!(
            code,
            "            Rpc::{method} => \"/payvault.v1.{service}/{method}\","
        )?;
    }
    code.push_str("        }\n    }\n\n    /// Its name.\n    pub const fn name(self) -> &'static str {\n        match self {\n");
    for (_, method) in rpcs {
        writeln!(code, "            Rpc::{method} => \"{method}\",")?;
    }
    code.push_str("        }\n    }\n}\n");
    Ok(code)
}
