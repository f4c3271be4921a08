#!/bin/sh
# Start servers that are wrong in one way each, beside the real one, in /run/states.
set -eu
mkdir -p /run/states
cd /run/states
sign() { # NAME SUBJECT OPTION...
  name=$1 subject=$2
  shift 2
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$name.key" -out "$name.pem" \
    -subj "/CN=$subject" "$@"
}
sign ca ca
sign other_ca other_ca
certificate() { # NAME CA SUBJECT OPTION...
  name=$1 ca=$2 subject=$3
  shift 3
  sign "$name" "$subject" -CA "$ca.pem" -CAkey "$ca.key" -addext "subjectAltName=DNS:$subject" "$@"
  chgrp _chrony "$name.key"
  chmod 640 "$name.key"
}
serve() { # NAME NTS-KE-PORT NTP-PORT DIRECTIVE
  cat >"$1.conf" <<-END
	pidfile /run/states/$1.pid
	ntsport $2
	port $3
	cmdport 0
	bindcmdaddress /
	ntsservercert /run/states/$1.pem
	ntsserverkey /run/states/$1.key
	allow
	$4
	END
  systemctl restart "states@$1"
}
cat >/run/systemd/system/states@.service <<END
[Service]
ExecStart=chronyd -n -x -f /run/states/%i.conf
END
systemctl daemon-reload
certificate unknown_ca other_ca nts1
certificate expired ca nts1 -not_before 20250101000000Z -not_after 20250201000000Z
certificate not_yet_valid ca nts1 -not_before 20990101000000Z -not_after 20990201000000Z
certificate wrong_name ca nts9
certificate unreadable ca nts1
chmod 600 unreadable.key
certificate unsynchronised ca nts1
certificate forgetful ca nts1
serve unknown_ca 4461 11461 'local stratum 10'
serve expired 4462 11462 'local stratum 10'
serve not_yet_valid 4463 11463 'local stratum 10'
serve wrong_name 4464 11464 'local stratum 10'
serve unreadable 4465 11465 'local stratum 10'
serve unsynchronised 4466 11466 ''
serve forgetful 4467 11467 'local stratum 10'
cat >/run/systemd/system/states-https.service <<END
[Service]
ExecStart=openssl s_server -www -tls1_3 -accept 4468 -cert /run/states/forgetful.pem -key /run/states/forgetful.key
END
systemctl daemon-reload
systemctl restart states-https
