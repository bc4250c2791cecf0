//! Capability names, with where each is defined. Which are advertised, and when, is the server's affair.

macro_rules! capabilities {
    ($($variant:ident $name:literal $source:literal,)*) => {
        /// A capability whose name has no parameter.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Capability {
            $(#[doc = concat!("`", $name, "` (", $source, ")")] $variant,)*
        }

        impl Capability {
            /// Every one, by name.
            pub const ALL: &[Capability] = &[$(Capability::$variant,)*];

            /// Its name as advertised.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Capability::$variant => $name,)*
                }
            }

            /// The document that defines it.
            pub const fn source(self) -> &'static str {
                match self {
                    $(Capability::$variant => $source,)*
                }
            }
        }
    };
}

capabilities! {
    Acl "ACL" "RFC 4314",
    AnnotateExperiment1 "ANNOTATE-EXPERIMENT-1" "RFC 5257",
    AppendLimit "APPENDLIMIT" "RFC 7889 §3",
    AuthExternal "AUTH=EXTERNAL" "RFC 4422 appendix A",
    AuthLogin "AUTH=LOGIN" "draft-murchison-sasl-login",
    AuthOAuthBearer "AUTH=OAUTHBEARER" "RFC 7628",
    AuthPlain "AUTH=PLAIN" "RFC 4616",
    AuthScramSha256 "AUTH=SCRAM-SHA-256" "RFC 7677",
    AuthScramSha256Plus "AUTH=SCRAM-SHA-256-PLUS" "RFC 7677",
    Binary "BINARY" "RFC 3516",
    Catenate "CATENATE" "RFC 4469",
    Children "CHILDREN" "RFC 3348",
    CompressDeflate "COMPRESS=DEFLATE" "RFC 4978",
    CondStore "CONDSTORE" "RFC 7162",
    ContextSearch "CONTEXT=SEARCH" "RFC 5267",
    ContextSort "CONTEXT=SORT" "RFC 5267",
    Convert "CONVERT" "RFC 5259",
    CreateSpecialUse "CREATE-SPECIAL-USE" "RFC 6154",
    Enable "ENABLE" "RFC 5161",
    ESearch "ESEARCH" "RFC 4731",
    ESort "ESORT" "RFC 5267",
    I18nLevel1 "I18NLEVEL=1" "RFC 5255 §4",
    Id "ID" "RFC 2971",
    Idle "IDLE" "RFC 2177",
    Imap4Rev1 "IMAP4rev1" "RFC 3501",
    Imap4Rev2 "IMAP4rev2" "RFC 9051",
    InProgress "INPROGRESS" "RFC 9585",
    ListExtended "LIST-EXTENDED" "RFC 5258",
    ListMetadata "LIST-METADATA" "RFC 9590",
    ListMyRights "LIST-MYRIGHTS" "RFC 8440",
    ListStatus "LIST-STATUS" "RFC 5819",
    ListA "LISTA" "OMA-TS-CPM_MessageStorage",
    LiteralMinus "LITERAL-" "RFC 7888",
    LiteralPlus "LITERAL+" "RFC 7888",
    LoginDisabled "LOGINDISABLED" "RFC 9051 §6.2.3",
    Metadata "METADATA" "RFC 5464",
    Move "MOVE" "RFC 6851",
    MultiAppend "MULTIAPPEND" "RFC 3502",
    MultiSearch "MULTISEARCH" "RFC 7377",
    Namespace "NAMESPACE" "RFC 2342",
    Notify "NOTIFY" "RFC 5465",
    ObjectId "OBJECTID" "RFC 8474",
    Partial "PARTIAL" "RFC 9394",
    Preview "PREVIEW" "RFC 8970",
    QResync "QRESYNC" "RFC 7162",
    Quota "QUOTA" "RFC 9208",
    QuotaResMessage "QUOTA=RES-MESSAGE" "RFC 9208 §3.1",
    QuotaResStorage "QUOTA=RES-STORAGE" "RFC 9208 §3.1",
    QuotaSet "QUOTASET" "RFC 9208 §3.2",
    Replace "REPLACE" "RFC 8508",
    RightsTexkn "RIGHTS=texkn" "RFC 4314 §2.2",
    SaslIr "SASL-IR" "RFC 4959",
    SaveDate "SAVEDATE" "RFC 8514",
    SearchRes "SEARCHRES" "RFC 5182",
    SelectA "SELECTA" "OMA-TS-CPM_MessageStorage",
    Sort "SORT" "RFC 5256",
    SortDisplay "SORT=DISPLAY" "RFC 5957",
    SpecialUse "SPECIAL-USE" "RFC 6154",
    StartTls "STARTTLS" "RFC 9051 §6.2.1",
    StatusSize "STATUS=SIZE" "RFC 8438",
    ThreadOrderedSubject "THREAD=ORDEREDSUBJECT" "RFC 5256",
    ThreadReferences "THREAD=REFERENCES" "RFC 5256",
    UidPlus "UIDPLUS" "RFC 4315",
    Unauthenticate "UNAUTHENTICATE" "RFC 8437",
    Unselect "UNSELECT" "RFC 3691",
    UrlAuth "URLAUTH" "RFC 4467",
    UrlAuthBinary "URLAUTH=BINARY" "RFC 5524",
    Utf8Accept "UTF8=ACCEPT" "RFC 6855",
    Within "WITHIN" "RFC 5032",
    XCpmChanges "XCPM-CHANGES" "this server's own",
    XCpmDevice "XCPM-DEVICE" "OMA-TS-CPM_MessageStorage-V2_0 §5.2.1",
}

impl Capability {
    /// The capability of that name, in any case: what `ENABLE` asks for.
    pub fn parse(name: &[u8]) -> Option<Capability> {
        Capability::ALL.iter().copied().find(|c| c.name().as_bytes().eq_ignore_ascii_case(name))
    }
}

impl AsRef<[u8]> for Capability {
    fn as_ref(&self) -> &[u8] {
        self.name().as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        for &capability in Capability::ALL {
            assert_eq!(Capability::parse(capability.name().to_lowercase().as_bytes()), Some(capability));
            assert!(capability.name().bytes().all(crate::string::is_atom_char));
        }
        assert!(Capability::ALL.is_sorted_by_key(|c| c.name().to_uppercase().replace('-', " ")));
        assert_eq!(Capability::parse(b"X"), None);
    }
}
