# Copyright: (c) 2026, securetime.nts contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Private to securetime.nts. Check that chronyd would run with the staged files, before the swap.

`chronyd -p` parses chrony.conf and the files that it includes. It opens no other file that these name: no source file,
no certificate and no key. It does not look up the user either. This module checks those, with the rights of the
daemon's user.

Long: one check for each way in which chronyd can fail with a file that it parses, read as one list.
"""

import os
import pwd
import re
import ssl
import stat
import time
from typing import Any, Dict, Iterator, List, Mapping, NamedTuple, Optional, Sequence, Tuple

from ansible_collections.securetime.nts.plugins.module_utils._change import files, paths
from ansible_collections.securetime.nts.plugins.module_utils._change.files import FileSpec, System, TransactionError
from ansible_collections.securetime.nts.plugins.module_utils._change.paths import PathUse, Sandbox
from ansible_collections.securetime.nts.plugins.module_utils._change.serving import obstacle, read_serving
from ansible_collections.securetime.nts.plugins.module_utils._state.host import find_chronyd, find_daemon, read_file
from ansible_collections.securetime.nts.plugins.module_utils._state.options import conflicts, parse
from ansible_collections.securetime.nts.plugins.module_utils._x509.certificates import CERTIFICATE, carries, decode
from ansible_collections.securetime.nts.plugins.module_utils._x509.trust import Directives, words_of

PARSE_ERROR = re.compile(r"Fatal error : (?P<what>.*) at line (?P<line>\d+)(?: in file .*)?$", re.MULTILINE)
DEFAULT_USER = re.compile(r"^ *-u USER\s.*\((?P<user>[^)]*)\)$", re.MULTILINE)
# The names that each certificate must carry, by its path.
Names = Mapping[str, Sequence[str]]
SOURCE_WORDS = ("server", "pool", "peer")
# Permission bits of one class of a file mode.
READ, WRITE, ENTER = 4, 2, 1


NO_SANDBOX = Sandbox("", {})


class Reader(NamedTuple):
    """The user that chronyd runs as. chronyd drops every group but the primary one (util.c: UTI_DropRoot)."""

    name: str
    uid: int
    gid: int


def check(
    host: System,
    staged: Dict[str, FileSpec],
    config_file: str,
    names: Optional[Names] = None,
    whole: bool = True,
    daemon_options: Optional[Sequence[str]] = None,
    sandbox: Sandbox = NO_SANDBOX,
) -> bool:
    """Raise TransactionError where chronyd cannot use a file; return False if chronyd is not installed.

    `staged` maps paths to the files of the change. Their new content is staged beside the target, because the
    distributions' confinement lets chronyd read little else (Debian's AppArmor profile: /etc/chrony). `names` maps the
    path of a certificate to the names that it must carry. `whole=False` checks the syntax alone: in check mode, files
    of other tasks do not exist yet. `daemon_options` default to the options of the running chronyd.
    """
    # Long: one sequence of checks, from the syntax to the paths, each with its own error.
    chronyd = find_chronyd()
    if chronyd is None:
        return False
    candidate = staged.get(config_file) or staged.get(os.path.realpath(config_file))
    for item in {id(item): item for item in staged.values()}.values():
        if item is not candidate and item.effect == "sources" and item.content is not None:
            _check_sources(host, chronyd, item)
    if candidate is not None and candidate.content is None:
        return True
    path = candidate.staged if candidate else config_file
    text = _parse(host, chronyd, path, candidate)
    directives = words_of(text)
    if names:
        _check_server(text, config_file)
    options = parse(_running_options() if daemon_options is None else daemon_options).options
    found = conflicts(options, directives)
    if found:
        raise TransactionError(f"chronyd would not start with the new files, so nothing was changed: {found[0]}")
    if not whole:
        return True
    reader = reader_of(host, directives, daemon_options)
    _check_source_folders(directives, staged, reader)
    _check_anchors(directives, staged, reader)
    _check_pairs(directives, staged, reader, names or {})
    _check_paths(directives, reader, sandbox)
    return True


def check_reach(
    host: System, directives: Directives, sandbox: Sandbox, daemon_options: Optional[Sequence[str]] = None
) -> None:
    """Raise TransactionError where chronyd cannot reach a path that its current configuration names."""
    reader = reader_of(host, directives, daemon_options)
    _check_source_folders(directives, {}, reader)
    for arguments in directives.get("ntstrustedcerts", []):
        if arguments and os.path.isfile(arguments[-1]):
            _assert_readable(arguments[-1], {}, reader, "ntstrustedcerts")
    for word in ("ntsservercert", "ntsserverkey"):
        for path in [arguments[0] for arguments in directives.get(word, []) if arguments]:
            _assert_readable(path, {}, reader, word)
    _check_paths(directives, reader, sandbox)


def effective_directives(host: System, path: str) -> Directives:
    """Return the directives of a configuration and its included files; of the file alone if chronyd refuses it."""
    return words_of(effective_text(host, path))


def effective_text(host: System, path: str) -> str:
    """Return the lines of a configuration and its included files, in the order in which chronyd reads them.

    If chronyd refuses the configuration, return the text of the file alone.
    """
    chronyd = find_chronyd()
    if chronyd is not None:
        done = host.run([chronyd, "-p", "-f", path])
        if done.status == 0:
            return done.stdout
    return _text(path)


def _parse(host: System, chronyd: str, path: str, candidate: Optional[FileSpec]) -> str:
    """Return the output of `chronyd -p` (since 4.0) for a file; raise TransactionError if chronyd refuses it."""
    done = host.run([chronyd, "-p", "-f", path])
    if done.status == 0:
        return done.stdout
    what = candidate.path if candidate else path
    refusal = f"chronyd refuses the new {what}, so nothing was changed"
    found = PARSE_ERROR.search(done.stderr + done.stdout)
    if found is None or candidate is None:
        raise TransactionError(f"{refusal}: {(done.stderr or done.stdout).strip()}")
    number = int(found.group("line"))
    line = (candidate.content or "").splitlines()[number - 1 : number]
    text = line[0] if line else "(end of the file)"
    raise TransactionError(f"{refusal}: {found.group('what')} at line {number}: {text}")


def _check_sources(host: System, chronyd: str, item: FileSpec) -> None:
    """Raise TransactionError where chronyd would silently ignore a line of a sources file."""
    content = item.content or ""
    if content and not content.endswith("\n"):
        raise TransactionError(
            f"The last line of {item.path} has no newline, so chronyd would ignore it; nothing was changed."
        )
    for number, line in enumerate(content.splitlines(), 1):
        word = line.split()[0].lower() if line.split() else ""
        if word and word[0] not in "!;#%" and word not in SOURCE_WORDS:
            raise TransactionError(
                f"{item.path} is for sources, and chronyd would silently ignore its line {number}, so nothing was"
                f" changed: {line}"
            )
    _parse(host, chronyd, item.staged, item)


def _running_options() -> List[str]:
    """Return the options of the running chronyd; an empty list if none runs."""
    pid = find_daemon(0)
    return read_file(f"/proc/{pid}/cmdline").split("\0")[1:-1] if pid else []


def reader_of(host: System, directives: Directives, daemon_options: Optional[Sequence[str]] = None) -> Reader:
    """Return the user that chronyd runs as. The option -u overrides the directive user (main.c).

    `daemon_options` default to those of the running chronyd. Raise TransactionError if the host has no such user.
    """
    options = parse(_running_options() if daemon_options is None else daemon_options).options
    compiled = DEFAULT_USER.search(host.run([find_chronyd() or "chronyd", "--help"]).stdout)
    given = [arguments[0] for arguments in directives.get("user", []) if arguments]
    name = options.get("u") or (given[-1] if given else compiled.group("user") if compiled else "root")
    try:
        user = pwd.getpwnam(name)
    except KeyError:
        raise TransactionError(
            f"chronyd would run as the user {name}, which this host does not have, and end at its start; nothing was"
            " changed. Leave out the directive user and the option -u, or name a user of this host there."
        ) from None
    return Reader(name, user.pw_uid, user.pw_gid)


def _check_source_folders(directives: Directives, staged: Dict[str, FileSpec], reader: Reader) -> None:
    """Raise TransactionError where chronyd's user cannot read a folder of sources, or a source file in it.

    chronyd reads sources as its user, and runs without those that it cannot read (conf.c: load_source_file).
    """
    for folder in [path for arguments in directives.get("sourcedir", []) for path in arguments]:
        if not os.path.isdir(folder):
            continue
        for item, right in [(folder, READ | ENTER), *((parent, ENTER) for parent in _parents(folder))]:
            if not has_permission(reader, os.stat(item), right):
                raise TransactionError(
                    f"{folder} (sourcedir) cannot be read by {reader.name}, the user of chronyd, because of"
                    f" the permissions of {item}, and chronyd would have none of its sources; nothing was changed."
                    f" {_access_remedy(item, reader)}"
                )
        sources = {path for path in _sources_in(folder) if path not in staged}
        sources |= {path for path in staged if os.path.dirname(path) == folder and staged[path].content is not None}
        for path in sorted(path for path in sources if path.endswith(".sources")):
            _assert_readable(path, staged, reader, "sourcedir")


def _access_remedy(folder: str, reader: Reader) -> str:
    """Return the remedy for a folder that denies chronyd's user access: the narrowest permission first."""
    for_all = f"`chmod o+rx {folder}`"
    if folder.count("/") < 2:
        return f"Let all users in: {for_all}."
    return f"Let that user in: `chgrp {files.group_name(reader.gid)} {folder}; chmod g+rx {folder}`, or {for_all}."


def _sources_in(folder: str) -> Iterator[str]:
    return (path for path in (os.path.join(folder, name) for name in os.listdir(folder)) if os.path.exists(path))


def _check_server(text: str, config_file: str) -> None:
    """Raise TransactionError where the directives of a server let it answer no client."""
    found = obstacle(read_serving(text))
    if found:
        raise TransactionError(
            f"In {config_file} or its drop-ins {found.cause}, and chronyd would serve no client; nothing was changed."
            f" {found.remedy[:1].upper()}{found.remedy[1:]}."
        )


def _check_anchors(directives: Directives, staged: Dict[str, FileSpec], reader: Reader) -> None:
    """Raise TransactionError where a file of trust anchors is unreadable or empty.

    One unreadable file keeps every source of its set from authenticating (tls_gnutls.c).
    """
    # chronyd refuses a line without a path.
    for path in [arguments[-1] for arguments in directives.get("ntstrustedcerts", []) if arguments]:
        if not os.path.isdir(path):
            _assert_readable(path, staged, reader, "ntstrustedcerts")
            if not CERTIFICATE.search(_text(_current_path(path, staged))):
                raise TransactionError(
                    f"{path} (ntstrustedcerts) holds no certificate, so chronyd could authenticate no source of its"
                    " set; nothing was changed."
                )


def _check_pairs(directives: Directives, staged: Dict[str, FileSpec], reader: Reader, names: Names) -> None:
    """Raise TransactionError where chronyd cannot use a pair of certificate and key.

    With an unusable pair chronyd keeps running and listening, but serves no NTS.
    """
    certificates = [arguments[0] for arguments in directives.get("ntsservercert", []) if arguments]
    keys = [arguments[0] for arguments in directives.get("ntsserverkey", []) if arguments]
    if len(certificates) != len(keys):
        raise TransactionError(
            f"There are {len(certificates)} ntsservercert and {len(keys)} ntsserverkey, and chronyd would end at its"
            " start; nothing was changed. Every certificate needs its key, in the same order."
        )
    for certificate, key in zip(certificates, keys):
        _assert_readable(certificate, staged, reader, "ntsservercert")
        _assert_readable(key, staged, reader, "ntsserverkey")
        _assert_pair_matches(certificate, _current_path(certificate, staged), key, _current_path(key, staged))
        _assert_valid(certificate, _current_path(certificate, staged), names.get(certificate, ()))


def _assert_pair_matches(certificate: str, current_certificate: str, key: str, current_key: str) -> None:
    try:
        # Without this, OpenSSL would prompt for the passphrase of a key. chronyd cannot use such a key either.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(current_certificate, current_key, password=lambda: b"")
    except (ssl.SSLError, OSError) as error:
        reason = "do not belong together" if "MISMATCH" in str(error) else f"cannot be used ({error})"
        raise TransactionError(
            f"{certificate} and {key} {reason}, and with them chronyd would serve no NTS; nothing was changed."
        ) from None


def _assert_valid(path: str, current: str, names: Sequence[str]) -> None:
    chain = list(_decode(path, current))
    clock = time.time()
    for holder, certificate in zip(("server's certificate", "certificate of its CA"), chain):
        for word, when, wrong in (("expired", "notAfter", -1), ("is not valid before", "notBefore", 1)):
            if (ssl.cert_time_to_seconds(certificate[when]) - clock) * wrong > 0:
                # The date format of OpenSSL, to match the dates of the certificate.
                shown = time.strftime("%b %d %H:%M:%S %Y GMT", time.gmtime(clock))
                raise TransactionError(
                    f"The {holder} in {path} {word} {certificate[when]}, and no client would accept it; nothing was"
                    f" changed. By the clock of this host it is {shown}: correct the clock if it is the one that is"
                    " wrong."
                )
    for below, above in zip(chain, chain[1:]):
        if below["issuer"] != above["subject"]:
            raise TransactionError(
                f"The certificates in {path} are not a chain: each must be followed by the one that signed it; nothing"
                " was changed."
            )
    carried_names = {value for _kind, value in chain[0].get("subjectAltName", ())}
    missing = [name for name in names if not carries(carried_names, name)]
    if missing:
        raise TransactionError(
            f"The certificate in {path} is not for {', '.join(missing)} (it is for {', '.join(sorted(carried_names))});"
            " nothing was changed."
        )


def _decode(path: str, current: str) -> Iterator[Dict[str, Any]]:
    found = CERTIFICATE.findall(_text(current))
    if not found:
        raise TransactionError(f"{path} holds no certificate; nothing was changed.")
    return map(decode, found)


def _current_path(path: str, staged: Dict[str, FileSpec]) -> str:
    """Return the path at which the content of a file is before the swap."""
    item = staged.get(path) or staged.get(os.path.realpath(path))
    return item.staged if item else path


def _text(path: str) -> str:
    with open(path, encoding="utf-8", errors="replace") as file:
        return file.read()


def _assert_readable(path: str, staged: Dict[str, FileSpec], reader: Reader, directive: str) -> None:
    current = _current_path(path, staged)
    if not os.path.exists(current):
        raise TransactionError(
            f"{path} ({directive}) is not on this host, and without it chronyd could not do NTS; nothing was changed."
        )
    folder = os.path.dirname(path)
    for item, right in [(current, READ), *((parent, ENTER) for parent in _parents(folder))]:
        if not has_permission(reader, os.stat(item), right):
            remedy = (
                "Let the file belong to the group of that user (chronyd drops its other groups), with mode 0640."
                if item == current
                else _access_remedy(item, reader)
            )
            raise TransactionError(
                f"{path} ({directive}) cannot be read by {reader.name}, the user of chronyd, because of the permissions"
                f" of {path if item == current else item}; nothing was changed. {remedy}"
            )


def _check_paths(directives: Directives, reader: Reader, sandbox: Sandbox) -> None:
    """Check the other paths that chronyd uses, each as the user that opens it, in the sandbox of the unit."""
    for use in paths.used(directives):
        problem = _path_problem(use, reader, sandbox)
        if problem:
            named = f"{use.path} ({use.directive})"
            wrong = f"{named} {problem[0]}" + (f", and chronyd {use.otherwise}" if use.otherwise else "")
            raise TransactionError(f"{wrong}; nothing was changed. {problem[1]}")


def _path_problem(use: PathUse, reader: Reader, sandbox: Sandbox) -> Optional[Tuple[str, str]]:
    """Return why chronyd cannot use a path, and the remedy; None if it can."""
    real = os.path.realpath(use.path)
    other_path = f"Set {use.directive} to a path that chronyd can read."
    if use.writes:
        other_path = f"Set {use.directive} to a path that {reader.name} owns, such as one below /var/lib/chrony."
    hidden = sandbox.hides(real)
    if hidden:
        return f"is hidden from chronyd by {hidden} of {sandbox.unit}", other_path
    if use.directive == "pidfile":
        expected = sandbox.shown.get("PIDFile", "")
        if expected and sandbox.shown.get("Type") == "forking" and os.path.realpath(expected) != real:
            return f"is not {expected}, where {sandbox.unit} looks for it (PIDFile)", "Leave the directive out."
    if use.writes:
        return _write_problem(use, real, reader, sandbox, other_path)
    if use.directive in ("leapseclist", "tempcomp"):
        return _read_problem(use, reader)
    return None


def _write_problem(
    use: PathUse, real: str, reader: Reader, sandbox: Sandbox, other_path: str
) -> Optional[Tuple[str, str]]:
    folder = real if use.kind == paths.FOLDER else os.path.dirname(real)
    setting = sandbox.denies_writing(folder)
    if setting:
        return (
            f"is read-only for chronyd by {setting} of {sandbox.unit}",
            f"{other_path} Or let the unit write there: a drop-in with `ReadWritePaths={folder}`.",
        )
    if not os.path.isdir(folder):
        if os.path.lexists(folder):
            return f"needs the folder {folder}, which is not a folder", other_path
        if use.as_root and not use.makes and folder != os.path.dirname(sandbox.shown.get("PIDFile", "")):
            return f"needs the folder {folder}, which does not exist", f"Make the folder. {other_path}"
        return None
    if use.kind == paths.SOCKET and use.makes:
        return _socket_problem(folder, reader)
    return None if use.as_root else _folder_problem(folder, reader, other_path)


def _socket_problem(folder: str, reader: Reader) -> Optional[Tuple[str, str]]:
    """Return why chronyd cannot create its command socket in a folder, and the remedy; None if it can.

    chronyd creates it only in a folder of its user and group that is closed to others (conf.c: CNF_CreateDirs).
    """
    status = os.stat(folder)
    if (status.st_uid, status.st_gid) == reader[1:] and not status.st_mode & stat.S_IRWXO:
        return None
    return (
        f"is in {folder}, which is not a folder of {reader.name} alone",
        "Name a socket in a folder that chronyd creates, such as /run/chrony/chronyd.sock.",
    )


def _folder_problem(folder: str, reader: Reader, other_path: str) -> Optional[Tuple[str, str]]:
    """Return why chronyd's user cannot safely write to a folder, and the remedy; None if it can."""
    if os.stat(folder).st_mode & stat.S_IWOTH:
        return f"is in {folder}, and all users can write there", other_path
    for item, right in [(folder, WRITE | ENTER), *((parent, ENTER) for parent in _parents(os.path.dirname(folder)))]:
        if not has_permission(reader, os.stat(item), right):
            remedy = other_path if item == folder else _access_remedy(item, reader)
            return (
                f"cannot be written by {reader.name}, the user of chronyd, because of the permissions of {item}",
                remedy,
            )
    return None


def _read_problem(use: PathUse, reader: Reader) -> Optional[Tuple[str, str]]:
    if not os.path.exists(use.path):
        return "is not on this host", f"Put the file there, or take {use.directive} out."
    for item, right in [(use.path, READ), *((parent, ENTER) for parent in _parents(os.path.dirname(use.path)))]:
        if not has_permission(reader, os.stat(item), right):
            remedy = f"Run `chmod o+r {item}`." if item == use.path else _access_remedy(item, reader)
            return f"cannot be read by {reader.name}, the user of chronyd, because of the permissions of {item}", remedy
    return None


def _parents(folder: str) -> Iterator[str]:
    while True:
        yield folder
        if folder == os.path.dirname(folder):
            return
        folder = os.path.dirname(folder)


def has_permission(reader: Reader, status: os.stat_result, right: int) -> bool:
    """Return whether a user has all of these rights: the first class (owner, group, others) that fits decides."""
    if reader.uid == 0:
        return True
    mode = stat.S_IMODE(status.st_mode)
    shift = 6 if status.st_uid == reader.uid else 3 if status.st_gid == reader.gid else 0
    return mode >> shift & right == right
