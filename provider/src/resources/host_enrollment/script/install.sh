work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
package=$work/$package_file

download() {
  if command -v curl >/dev/null 2>&1; then
    curl --fail --silent --show-error --location --proto '=http,https' --proto-redir '=http,https' --max-redirs 5 \
      --connect-timeout 20 --max-time 600 --max-filesize 268435456 --output "$package" "$package_url"
  elif command -v wget >/dev/null 2>&1; then
    wget --no-verbose --tries=1 --timeout=60 --max-redirect=5 --output-document="$package" "$package_url"
  else
    fail 'there is neither curl nor wget to download the package with'
  fi
}

# The network may still be coming up.
attempt=1
until download; do
  [ "$attempt" -lt 10 ] || fail "the package cannot be downloaded from $package_url"
  attempt=$((attempt + 1))
  sleep 6
done

found=$(sha256sum <"$package")
found=${found%% *}
[ "$found" = "$package_sha256" ] ||
  fail "the package from $package_url has SHA-256 $found, wanted is $package_sha256; it was not installed"

install_deb() {
  DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confdef \
    -o Dpkg::Options::=--force-confold install --yes --no-install-recommends "$package"
}

case $package_file in
*.deb)
  # apt reads packages as a user of its own.
  chmod 755 "$work"
  chmod 644 "$package"
  install_deb || { apt-get update && install_deb; } || fail 'apt-get did not install the package'
  ;;
*.rpm)
  dnf install --assumeyes "$package" || fail 'dnf did not install the package'
  ;;
esac
