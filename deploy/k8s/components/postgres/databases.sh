#!/bin/sh
# Runs once, when the data directory is new: a login and a database for each service, closed to the other.
set -eu
for service in auth quota; do
	case $service in auth) password=$AUTH_PASSWORD ;; quota) password=$QUOTA_PASSWORD ;; esac
	psql --no-psqlrc --set ON_ERROR_STOP=1 --set password="$password" --username "$POSTGRES_USER" --dbname postgres <<-SQL
		CREATE ROLE $service LOGIN PASSWORD :'password';
		CREATE DATABASE $service OWNER $service;
		REVOKE CONNECT ON DATABASE $service FROM PUBLIC;
	SQL
done
