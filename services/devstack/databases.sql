-- Makes the roles and the database of one service, :service, where they are missing. Read by psql.
--
-- :service_owner owns the tables and runs migrations, :service_service is what may be done at run time, and :service
-- does it. No other service's role may connect.

SELECT format('CREATE ROLE %I LOGIN', :'service' || '_owner')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'service' || '_owner') \gexec

SELECT format('CREATE ROLE %I NOLOGIN', :'service' || '_service')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'service' || '_service') \gexec

SELECT format('CREATE ROLE %I LOGIN IN ROLE %I', :'service', :'service' || '_service')
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = :'service') \gexec

SELECT format('CREATE DATABASE %I OWNER %I', :'service', :'service' || '_owner')
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = :'service') \gexec

SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC', :'service') \gexec

SELECT format('GRANT CONNECT ON DATABASE %I TO %I', :'service', :'service' || '_service') \gexec
