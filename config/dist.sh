#!/usr/bin/env bash
# Packs the release build: `make dist` builds first.
#
#   target/dist/nsq-<version>-linux-<machine>.tar.gz    all programs, manual pages, completions, examples
#   target/dist/nsq-<version>-linux-<machine>-debug.tar.gz    their debug information; gdb finds it next to the programs
#   target/dist/*.deb                                   Debian packages, where dpkg-deb is there
#   target/dist/SHA256SUMS
#
# The programs need the C library of this machine or a newer one, and nothing else. SOURCE_DATE_EPOCH dates every file, MAINTAINER
# ("name <address>") stands in the packages.
set -euo pipefail
cd "$(dirname "$0")/.."
shopt -s inherit_errexit
bin=${CARGO_TARGET_DIR:-target}/release
out=target/dist
daemons=(nsqd nsqlookupd nsqadmin)
utilities=(nsq_stat nsq_tail nsq_to_file nsq_to_http nsq_to_nsq to_nsq)
SOURCE_DATE_EPOCH=${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}
export SOURCE_DATE_EPOCH
stage=$(mktemp -d)
trap 'rm -rf "$stage"' EXIT

# "nsqd v1.3.0 (built w/...)": the version of NSQ that it stands for.
nsq_version=$("$bin/nsqd" --version)
nsq_version=${nsq_version#nsqd v}
version=${nsq_version%% *}+$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -1)

# Line tables: panics and profiles of the stripped programs can be read with them.
debug=$stage/debug
mkdir "$debug"
for program in "${daemons[@]}" "${utilities[@]}"; do
    objcopy --only-keep-debug "$bin/$program" "$debug/$program.debug"
done

# place_program <program> <root>: the program, its manual page and its completions below <root>.
place_program() {
    local program=$1 root=$2 section=1
    case " ${daemons[*]} " in *" $program "*) section=8 ;; esac
    install -d "$root/usr/bin"
    objcopy --strip-all --add-gnu-debuglink="$debug/$program.debug" "$bin/$program" "$root/usr/bin/$program"
    install -d "$root/usr/share/man/man$section"
    "$bin/$program" --help=man | gzip -n9 >"$root/usr/share/man/man$section/$program.$section.gz"
    install -d "$root/usr/share/"{bash-completion/completions,zsh/vendor-completions,fish/vendor_completions.d}
    "$bin/$program" --help=bash >"$root/usr/share/bash-completion/completions/$program"
    "$bin/$program" --help=zsh >"$root/usr/share/zsh/vendor-completions/_$program"
    "$bin/$program" --help=fish >"$root/usr/share/fish/vendor_completions.d/$program.fish"
}

# date_files <root>: every file as old as the source.
date_files() {
    find "$1" -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
}

# control <package> <summary> <dependencies> <text...>: a package's DEBIAN/control.
control() {
    local package=$1 summary=$2 depends=$3 root=$stage/$1
    shift 3
    cat <<END
Package: $package
Version: $version
Architecture: $(dpkg --print-architecture)
Maintainer: ${MAINTAINER:-NSQ packagers <packagers@nsq.example>}
Section: net
Priority: optional
Installed-Size: $(du -sk --exclude=DEBIAN "$root" | cut -f1)
Depends: $depends
Conflicts: nsq
Description: $summary
END
    printf ' %s\n' "$@"
}

# The C library's version that the newest symbol in use asks for, as a dependency.
libc_of() {
    local newest
    newest=$(objdump -T "$1" | grep -o 'GLIBC_2\.[0-9.]*' | sort -Vu | tail -1)
    echo "libc6 (>= ${newest#GLIBC_}), libgcc-s1"
}

daemon_package() {
    local name=$1 summary=$2 root=$stage/$1
    place_program "$name" "$root"
    install -D -m 644 "config/systemd/$name.service" "$root/lib/systemd/system/$name.service"
    install -d "$root/etc/nsq"
    case $name in
        # Where the unit's StateDirectory is.
        nsqd) sed 's|^# data_path = .*|data_path = "/var/lib/nsqd"|' config/nsqd.cfg.example ;;
        # It has to be given someone to ask.
        nsqadmin) sed 's|^# nsqlookupd_http_addresses = .*|nsqlookupd_http_addresses = ["127.0.0.1:4161"]|' config/nsqadmin.cfg.example ;;
        *) cat "config/$name.cfg.example" ;;
    esac >"$root/etc/nsq/$name.cfg"
    install -d "$root/DEBIAN"
    echo "/etc/nsq/$name.cfg" >"$root/DEBIAN/conffiles"
    cat >"$root/DEBIAN/postinst" <<END
#!/bin/sh
set -e
if [ "\$1" = configure ]; then
    getent passwd nsq >/dev/null ||
        useradd --system --user-group --home-dir /var/lib/nsqd --no-create-home --shell /usr/sbin/nologin nsq
    if [ -d /run/systemd/system ]; then
        systemctl daemon-reload
        # An upgrade goes on with the new program; a first installation waits to be enabled.
        [ -z "\$2" ] || systemctl try-restart $name.service
    fi
fi
END
    cat >"$root/DEBIAN/prerm" <<END
#!/bin/sh
set -e
if [ "\$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl --no-reload disable --now $name.service
fi
END
    cat >"$root/DEBIAN/postrm" <<END
#!/bin/sh
set -e
[ ! -d /run/systemd/system ] || systemctl daemon-reload
END
    chmod 755 "$root"/DEBIAN/{postinst,prerm,postrm}
    control "$name" "$summary" "$(libc_of "$bin/$name"), passwd" \
        "Part of a drop-in for the NSQ suite: same flags, config file, wire" \
        "protocol and HTTP answers. Started as $name.service once enabled." >"$root/DEBIAN/control"
}

utilities_package() {
    local root=$stage/nsq-utils program
    for program in "${utilities[@]}"; do
        place_program "$program" "$root"
    done
    install -d "$root/DEBIAN"
    control nsq-utils "programs that publish to and consume from NSQ" "$(libc_of "$bin/nsq_to_http")" \
        "nsq_stat, nsq_tail, nsq_to_file, nsq_to_http, nsq_to_nsq and to_nsq, as" \
        "drop-ins for those of the NSQ suite." >"$root/DEBIAN/control"
}

finish_package() {
    local package=$1 root=$stage/$1
    install -D -m 644 config/copyright "$root/usr/share/doc/$package/copyright"
    gzip -n9 >"$root/usr/share/doc/$package/changelog.gz" <<END
$package ($version) stable; urgency=medium

  * See the project's history.

 -- ${MAINTAINER:-NSQ packagers <packagers@nsq.example>}  $(date -R --utc --date="@$SOURCE_DATE_EPOCH")
END
    (cd "$root" && find . -path ./DEBIAN -prune -o -type f -printf '%P\0' | sort -z | xargs -0 md5sum) >"$root/DEBIAN/md5sums"
    date_files "$root"
    dpkg-deb --root-owner-group -Zxz --build "$root" "$out" >/dev/null
}

rm -rf "$out"
mkdir -p "$out"

name=nsq-$version-linux-$(uname -m)
for program in "${daemons[@]}" "${utilities[@]}"; do
    place_program "$program" "$stage/tar"
done
mv "$stage/tar/usr" "$stage/$name"
mkdir -p "$stage/$name/share/nsq"
cp -r config/*.cfg.example config/systemd config/prometheus config/grafana "$stage/$name/share/nsq/"
date_files "$stage/$name"
pack() { tar -C "$stage" --sort=name --owner=0 --group=0 --numeric-owner -cf - "$1" | gzip -n9 >"$out/$1.tar.gz"; }
pack "$name"
mv "$debug" "$stage/$name-debug"
date_files "$stage/$name-debug"
pack "$name-debug"
debug=$stage/$name-debug

if command -v dpkg-deb >/dev/null; then
    daemon_package nsqd "message queue: receives, queues and delivers messages"
    daemon_package nsqlookupd "message queue: tells consumers which nsqd has which topic"
    daemon_package nsqadmin "message queue: pages that show a cluster"
    utilities_package
    for package in "${daemons[@]}" nsq-utils; do
        finish_package "$package"
    done
else
    echo "NO DPKG-DEB: the Debian packages were left out" >&2
fi
(cd "$out" && sha256sum -- *.tar.gz *.deb 2>/dev/null >SHA256SUMS || sha256sum -- *.tar.gz >SHA256SUMS)
ls -l "$out"
